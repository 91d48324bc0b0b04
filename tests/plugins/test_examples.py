"""The example plugins that the docs quote: installed as packages, found by their entry points, used by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import halflap
from halflap import plugins
from halflap.errors import InvalidRequestError, UnsupportedModelError
from halflap.events import Reasoning, Text
from halflap.sampling.chain import SamplerChain, Use
from halflap.text.chat.detection import detect
from halflap.text.chat.template import ChatTemplate
from halflap.weights import gguf, gguf_writer
from halflap.weights.gguf_writer import TensorData

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "name", ["example-sampler", "example-chat-format", "example-weight-type", "example-architecture"]
)
def test_an_example_is_installed_small_and_sound(name: str) -> None:
    plugin = next(p for p in plugins.plugins() if p.name == name)
    assert plugin.error == ""
    assert plugin.distribution == f"halflap-{name}"
    source = next((ROOT / "plugins" / name).glob("halflap_*/__init__.py"))
    assert len(source.read_text().splitlines()) < 60


def test_the_sampler_prefers_what_was_not_seen() -> None:
    chain = SamplerChain([Use("fresh", penalty=50.0, keep_top=0), "top_k"], {"top_k": 1}, 1)
    row = np.float32([3.0, 2.0, 1.0])
    chosen = []
    for _ in range(3):
        chosen.append(chain.choose(row.copy()))
        chain.accept(chosen[-1])
    assert chosen == [0, 1, 2]


def test_the_samplers_own_error_names_it() -> None:
    with pytest.raises(InvalidRequestError, match="fresh"):
        SamplerChain([Use("fresh", penalty=-1)], {}, 1)
    with pytest.raises(InvalidRequestError, match="'colour'"):
        SamplerChain([Use("fresh", colour=1)], {}, 1)


def test_the_chat_format_is_detected_and_parses_at_every_split() -> None:
    chat = detect(ChatTemplate("{# ## Thoughts … ## Answer #}{{ messages[0]['content'] }}"))
    assert type(chat).__name__ == "Sections"
    answer = "## Thoughts\nhm\nhm\n## Answer\nyes ## Answer\nno"
    for i in range(len(answer)):
        parser = chat.parser((), "")
        events = [*parser.push(answer[:i]), *parser.push(answer[i:]), *parser.finish()]
        assert "".join(e.text for e in events if isinstance(e, Reasoning)) == "hm\nhm\n"
        assert "".join(e.text for e in events if isinstance(e, Text)) == "yes ## Answer\nno"


def test_the_sampler_works_in_a_request(shared: Path) -> None:
    path = shared / "oracle" / "families" / "qwen3-base.gguf"
    with halflap.load(path, devices=["reference"]) as model:
        options = {"max_tokens": 12, "ignore_eos": True, "samplers": [Use("fresh", penalty=1e4, keep_top=0), "top_k"]}
        tokens = model.generate([5, 6], top_k=1, **options).tokens  # type: ignore[arg-type]
    assert len({t.id for t in tokens} | {5, 6}) == 14


def rewritten(source: Path, target: Path, kind: str) -> Path:
    """The file with every matrix rounded to ACME5 and stored as this type."""
    acme5, stored = (plugins.get("weight_types", name) for name in ("ACME5", kind))
    tensors: dict[str, np.ndarray | TensorData] = {}
    with gguf.open(source) as file:
        for name, info in file.tensors.items():
            tensors[name] = values = file.dequantize(name)
            if len(info.shape) == 2 and info.shape[-1] % acme5.block == 0:
                blocks = acme5.quantize(values.reshape(-1, acme5.block))
                tensors[name] = TensorData.of(acme5.dequantize(blocks).reshape(values.shape), stored)
        gguf_writer.write(target, file.metadata, tensors)
    return target


def test_the_weight_type_rounds_to_nearest() -> None:
    kind = plugins.get("weight_types", "ACME5")
    values = np.random.default_rng(1).standard_normal((50, kind.block)).astype(np.float32)
    values[0] = 0
    decoded = kind.dequantize(kind.quantize(values))
    assert (np.abs(decoded - values) <= np.abs(values).max(axis=1, keepdims=True) / 29).all()
    np.testing.assert_array_equal(kind.dequantize(kind.quantize(decoded)), decoded)


def test_a_file_of_the_weight_type_says_what_its_numbers_say(shared: Path, tmp_path: Path) -> None:
    source = shared / "oracle" / "families" / "qwen3-base.gguf"
    ours, plain = (rewritten(source, tmp_path / f"{kind}.gguf", kind) for kind in ("ACME5", "F16"))
    assert ours.stat().st_size < plain.stat().st_size / 2
    for device in ("cpu", "reference"):
        if device == "cpu":
            pytest.importorskip("halflap_cpu", reason="halflap-cpu is not installed")
        answers = []
        for path in (ours, plain):
            with halflap.load(path, devices=[device], ctx=128) as model:
                answers.append([t.id for t in model.generate([5, 6], top_k=1, max_tokens=20, ignore_eos=True).tokens])
        assert answers[0] == answers[1]
    (placed,) = halflap.plan(ours, devices=["reference"]).placed
    assert placed.stand_ins == {}
    assert set(placed.weights) == {"f32"}


def test_without_the_plugin_the_error_names_the_type(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = rewritten(shared / "oracle" / "families" / "qwen3-base.gguf", tmp_path / "x.gguf", "ACME5")
    monkeypatch.setattr(plugins._registry, "_plugins", {plugins.BUILT_IN: plugins.plugins()[0]})
    for ask in (halflap.load, halflap.plan):
        with pytest.raises(UnsupportedModelError, match=r"got type 1005, .* plugin .* may be missing"):
            ask(path, devices=["reference"])
