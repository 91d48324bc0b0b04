"""An example weight type: ACME5. Its module needs numpy, so it is named here and imported at first use."""

import halflap


@halflap.hookimpl
def register_weight_types(register):
    register("ACME5", "halflap_example_weight_type.acme5:ACME5", gguf=1005)
