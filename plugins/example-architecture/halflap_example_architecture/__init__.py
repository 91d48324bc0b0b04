"""An example architecture: Apertus, and its activation as an op. Both are named here and imported at first use."""

import halflap


@halflap.hookimpl
def register_architectures(register):
    register("apertus", "halflap_example_architecture.apertus")


@halflap.hookimpl
def register_ops(register):
    register("xielu", "halflap_example_architecture.xielu:XIELU")
