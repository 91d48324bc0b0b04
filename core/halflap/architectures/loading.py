"""From a model file's metadata and tensor list to a checked graph."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from attrs import frozen

from halflap import plugins
from halflap.architectures.changes import NO_CHANGES, Changes
from halflap.architectures.keys import Keys, Shape
from halflap.errors import ModelFormatError, NotRegisteredError, UnsupportedModelError
from halflap.graph.builder import GraphBuilder
from halflap.graph.ir import Graph
from halflap.graph.passes import accept_images, skip_layers
from halflap.graph.verify import verify

MOST_BLOCKS = 1 << 14


@frozen
class Architecture:
    """A model's graph and the dimensions that the engine asks for.

    Attributes:
        context: tokens the model was trained for.
        width: elements of a hidden row (n_embd).
        vocab: rows of the token embedding.
        layers: blocks of the model.
        pooling: how one row is made of many, if the file says so.
        start: the token that an answer to a source text begins with; None: the model reads no source text.
    """

    name: str
    graph: Graph
    context: int
    width: int
    vocab: int
    layers: int
    pooling: str | None = None
    start: int | None = None


def load(
    name: str,
    metadata: Mapping[str, Any],
    tensors: Mapping[str, tuple[str, Shape]],
    changes: Changes = NO_CHANGES,
    magnitude: Callable[[str], float] | None = None,
) -> Architecture:
    """Build the graph of `general.architecture` = name.

    Args:
        tensors: name -> (dtype, shape) of every tensor of the file.
        changes: what is to be read otherwise than the file says.
        magnitude: see `Keys`.

    Raises:
        InvalidRequestError: a change that this model cannot take.
        UnsupportedModelError: no plugin knows the architecture.
        ModelFormatError: a key or tensor is missing or contradicts the others.
    """
    try:
        module = plugins.get("architectures", name)
    except NotRegisteredError as unknown:
        raise UnsupportedModelError(
            "architecture", got=repr(name), want=unknown.want, fix=unknown.fix, what_kind="architecture", name=name
        ) from None
    keys = Keys(name, changes.metadata(metadata), tensors, magnitude)
    if keys.has("block_count"):
        keys.integer("block_count", most=MOST_BLOCKS)  # before anything is listed for each of them
    config = module.Config.read(keys)
    pooling = keys.pooling()
    changes.check(keys, metadata)
    tensors = fitted(module.weights(config), tensors)
    graph = module.build(config, GraphBuilder(name, tensors, changes.given_width))
    if changes.given_width:
        blank = metadata.get("tokenizer.ggml.padding_token_id", 0)
        graph = accept_images(graph, changes.given_width, blank if isinstance(blank, int) else 0)
    if changes.skip_layers:
        graph = skip_layers(graph, changes.skip_layers)
    verify(graph)
    start = config.start if graph.source_groups() else None
    return Architecture(name, graph, config.context, config.width, config.vocab, config.layers, pooling, start)


def fitted(
    wanted: Iterable[tuple[str, Shape]], tensors: Mapping[str, tuple[str, Shape]]
) -> Mapping[str, tuple[str, Shape]]:
    """The tensors in the wanted shapes. A name that ends in "?" may be absent.

    Axes of 1 do not count: a file that was quantised has lost the outer ones, as ggml keeps no more axes than it needs.

    Raises:
        ModelFormatError: at the first that is not there in its shape, so that a file that claims a billion layers ends
            at one it lacks.
    """
    found = dict(tensors)
    for marked, shape in wanted:
        name = marked.removesuffix("?")
        if name not in tensors:
            if marked != name:
                continue
            raise ModelFormatError("tensor", got="none", want=f"{name!r} of shape {list(shape)}", field=name)
        dtype, given = tensors[name]
        if [n for n in given if n != 1] != [n for n in shape if n != 1]:
            raise ModelFormatError(f"tensor {name!r}", got=f"shape {list(given)}", want=list(shape), field=name)
        found[name] = (dtype, shape)
    return found
