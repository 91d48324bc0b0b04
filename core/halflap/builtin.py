"""Core's own parts, registered through the same hooks as everybody else's."""

from __future__ import annotations

from halflap.graph import ops
from halflap.hookspecs import Register, hookimpl

ARCHITECTURES = ("gemma", "gemma2", "gemma3", "llama", "mistral3", "qwen2", "qwen2moe", "qwen3", "qwen3moe")


@hookimpl
def register_backends(register: Register) -> None:
    register("reference", "halflap.device.reference:ReferenceBackend", priority=-100)


@hookimpl
def register_architectures(register: Register) -> None:
    for name in ARCHITECTURES:
        register(name, f"halflap.architectures.{name}")


@hookimpl
def register_ops(register: Register) -> None:
    for op in ops.TABLE:
        register(op.name, op)


SAMPLERS = {
    "penalties": "Penalties",
    "dry": "Dry",
    "top_n_sigma": "TopNSigma",
    "top_k": "TopK",
    "typical_p": "TypicalP",
    "top_p": "TopP",
    "min_p": "MinP",
    "xtc": "Xtc",
    "temperature": "Temperature",
    "mirostat": "Mirostat",
}


@hookimpl
def register_samplers(register: Register) -> None:
    for name, attribute in SAMPLERS.items():
        register(name, f"halflap.sampling.samplers:{attribute}")


@hookimpl
def register_chat_formats(register: Register) -> None:
    register("plain", "halflap.text.chat.hermes:Plain")
    register("hermes", "halflap.text.chat.hermes:Hermes", detect=("<tool_call>", "<think>"))
