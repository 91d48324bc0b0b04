"""The hooks a plugin may implement: all of them, on one screen.

A plugin is a module named by an entry point of group "halflap". Each hook receives `register(name, factory, **facts)`:
`factory` is a callable or "package.module:attribute", imported at first use; `facts` are cheap data for listings.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import pluggy

Register = Callable[..., None]
Hook = TypeVar("Hook", bound=Callable[..., None])

_spec, _impl = pluggy.HookspecMarker("halflap"), pluggy.HookimplMarker("halflap")


def hookspec(function: Hook) -> Hook:
    """Marks a hook of this page."""
    return _spec(function)


def hookimpl(function: Hook) -> Hook:
    """Marks a plugin's function of the same name as an implementation."""
    return _impl(function)


@hookspec
def register_backends(register: Register) -> None:
    """Devices: factory() -> Backend, or Path of a library exporting halflap_backend. Fact: priority (int)."""


@hookspec
def register_architectures(register: Register) -> None:
    """Models by `general.architecture`: factory is a module with Config, weights and build."""


@hookspec
def register_ops(register: Register) -> None:
    """Graph ops: factory is a halflap.graph.ops.Op: shape rule, numpy definition, optional decomposition."""


@hookspec
def register_weight_types(register: Register) -> None:
    """Storage types: factory is a halflap.weights.weight_type.WeightType. Fact: gguf (int), its id in files."""


@hookspec
def register_model_formats(register: Register) -> None:
    """Files and folders: factory(path, mmap=…, types=…) -> ModelFile. Fact: magic (bytes), the first bytes of such a
    file; or holds (str), a file that such a folder has in it."""


@hookspec
def register_models(register: Register) -> None:
    """Models by name: factory() -> Path; a name that ends in ":" is a scheme, factory(rest) -> Path. Fact: about."""


@hookspec
def register_tokenizers(register: Register) -> None:
    """Tokenizers. Fact: kind: "model" (tokenizer.ggml.model), factory(metadata) -> Tokenizer; or "pre"
    (tokenizer.ggml.pre), factory() -> halflap.text.pretokenizers.PreTokenizer."""


@hookspec
def register_samplers(register: Register) -> None:
    """Steps of the sampling chain: factory(**options) -> Sampler; its signature is the option schema."""


@hookspec
def register_constraints(register: Register) -> None:
    """What answers may be: factory(tokens, **options) -> Constraint (halflap.constraints.contract), once per answer."""


@hookspec
def register_chat_formats(register: Register) -> None:
    """Chat formats: factory(template) -> ChatFormat. Fact: detect (tuple of marks looked for in the template)."""


@hookspec
def register_commands(register: Register) -> None:
    """Subcommands of `halflap`: factory is a click.Command. Fact: help."""


@hookspec
def register_policies(register: Register) -> None:
    """Who goes first: factory() -> halflap.engine.policy.Policy, once per model."""


@hookspec
def register_drafters(register: Register) -> None:
    """Guesses at the next tokens: factory() -> halflap.engine.speculation.Drafter, once per model."""
