"""An example backend: plain numpy, one file. This module only names it, so that listing plugins stays cheap."""

import halflap


@halflap.hookimpl
def register_backends(register):
    register("example", "halflap_example_backend.device:Device", priority=-150)
