"""LoRA adapters beside each other in one step, against models whose weights were merged by hand; taps of the stream."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import halflap
from halflap.errors import InvalidRequestError, ModelFormatError, UnsupportedModelError
from halflap.weights import gguf, gguf_writer
from tests.any_device.conftest import drained, row_invariant_devices

PROMPT = [(i * 31) % 290 + 5 for i in range(45)]
GREEDY: dict[str, Any] = {"temperature": 0, "max_tokens": 8, "ignore_eos": True}
TARGETS = (
    "blk.0.attn_q.weight", "blk.0.ffn_down.weight", "blk.1.attn_v.weight", "blk.1.ffn_up.weight", "output.weight",
)  # fmt: skip


@pytest.fixture(params=["qwen2-base", "gemma3-base", "qwen35-dense"])
def path(request: pytest.FixtureRequest, shared: Path) -> Path:
    return shared / "oracle" / "families" / f"{request.param}.gguf"


def make_adapter(model: Path, out: Path, seed: int, rank: int, alpha: float, **metadata: Any) -> dict[str, np.ndarray]:
    """Write a random adapter; returns target -> what it adds to the weight at scale 1."""
    rng = np.random.default_rng(seed)
    with gguf.open(model) as file:
        shapes = {name: file.tensors[name].shape for name in TARGETS if name in file.tensors}
        known = {"general.type": "adapter", "adapter.type": "lora", "adapter.lora.alpha": alpha}
        known["general.architecture"] = file.architecture
    tensors, added = {}, {}
    for name, (n_out, n_in) in shapes.items():
        if seed % 2 and name.endswith("ffn_up.weight"):
            continue  # adapters need not have the same targets
        a = rng.standard_normal((rank, n_in), np.float32) * 0.3
        b = rng.standard_normal((n_out, rank), np.float32) * 0.1
        tensors[f"{name}.lora_a"], tensors[f"{name}.lora_b"] = a, b
        added[name] = (alpha / rank) * (b @ a)
    gguf_writer.write(out, {**known, **metadata}, tensors)
    return added


def merge(model: Path, out: Path, parts: list[tuple[dict[str, np.ndarray], float]]) -> None:
    with gguf.open(model) as file:
        tensors = {name: file.dequantize(name) for name in file.tensors}
        for added, scale in parts:
            for name, delta in added.items():
                tensors[name] = tensors[name] + scale * delta
        gguf_writer.write(out, dict(file.metadata), tensors)


def test_each_request_gets_its_own_mix(path: Path, device_name: str, tmp_path: Path) -> None:
    one = make_adapter(path, tmp_path / "one", 1, 4, 8.0)
    two = make_adapter(path, tmp_path / "two", 2, 3, 3.0)
    mixes: list[dict[str, float]] = [{}, {"one": 1.0}, {"two": 0.5}, {"one": -0.7, "two": 1.5}]
    wanted = []
    for mix in mixes:
        merge(path, tmp_path / "merged", [({"one": one, "two": two}[name], scale) for name, scale in mix.items()])
        with halflap.load(tmp_path / "merged", devices=[device_name], kv_type="f32", ctx=128) as model:
            wanted.append((model.logits(PROMPT), [t.id for t in model.generate(PROMPT, **GREEDY).tokens]))
    adapters = {"one": tmp_path / "one", "two": tmp_path / "two"}
    with halflap.load(path, devices=[device_name], kv_type="f32", ctx=128, adapters=adapters) as model:
        for _ in range(2):  # the second time out of the prefix tree
            streams = [model.stream(PROMPT, adapters=mix, **GREEDY) for mix in mixes]
            assert [[t.id for t in s.result().tokens] for s in streams] == [tokens for _, tokens in wanted]
        for mix, (rows, _) in zip(mixes, wanted, strict=True):
            found = model.logits(PROMPT, adapters=mix)
            assert np.abs(found - rows).max() < 2e-3 * np.abs(rows).max()
        assert drained(model)
    if device_name in row_invariant_devices():  # a neighbour's adapter changes not a bit
        with halflap.load(path, devices=[device_name], kv_type="f32", ctx=128) as plain:
            np.testing.assert_array_equal(plain.logits(PROMPT), wanted[0][0])


def test_what_is_no_adapter_of_this_model_is_refused(shared: Path, tmp_path: Path) -> None:
    folder, file = shared / "oracle" / "families", tmp_path / "adapter"
    path = folder / "qwen2-base.gguf"

    def refused(match: str, kind: type[Exception] = ModelFormatError, model: Path = path) -> None:
        with pytest.raises(kind, match=match):
            halflap.load(model, devices=["cpu"], ctx=64, adapters={"a": file}).close()

    make_adapter(path, file, 1, 4, 8.0, **{"general.architecture": "llama"})
    refused("general.architecture")
    make_adapter(path, file, 1, 4, 8.0, **{"general.type": "model"})
    refused("general.type")
    meta = {"general.type": "adapter", "adapter.type": "lora", "general.architecture": "qwen2"}
    ones = np.ones((4, 64), np.float32)
    gguf_writer.write(file, meta, {"blk.9.attn_q.weight.lora_a": ones, "blk.9.attn_q.weight.lora_b": ones})
    refused("does not have")
    gguf_writer.write(file, meta, {"blk.0.attn_q.weight.lora_a": ones})
    refused("lora_b'.*got none")
    gguf_writer.write(file, meta, {"blk.0.attn_q.weight.lora_a": ones, "blk.0.attn_q.weight.lora_b": ones})
    refused("and its partner")
    gguf_writer.write(file, meta, {"blk.0.attn_q.weight": ones})
    refused("NAME.lora_a")
    gguf_writer.write(file, meta, {})
    refused("pairs of lora_a")
    width = 64
    with gguf.open(path) as opened:
        vocab, width = opened.tensors["token_embd.weight"].shape
    parts = {"lora_a": np.ones((2, width), np.float32), "lora_b": np.ones((vocab, 2), np.float32)}
    gguf_writer.write(file, meta, {f"token_embd.weight.{name}": values for name, values in parts.items()})
    refused("token_embd.weight", UnsupportedModelError)
    with halflap.load(path, devices=["cpu"], ctx=64) as model:
        with pytest.raises(InvalidRequestError, match="no adapters") as raised:
            model.generate([5], adapters={"a": 1.0})
        assert raised.value.field == "adapters"
        with pytest.raises(InvalidRequestError, match="adapters"):
            model.generate([5], adapters={"a": "much"})  # type: ignore[dict-item]


@pytest.mark.parametrize("case", ["qwen3-base", "gemma2-base", "deepseek2-lite", "qwen35-dense"])
def test_a_tap_is_what_a_shorter_model_norms_at_its_end(case: str, shared: Path, device_name: str) -> None:
    path = shared / "oracle" / "families" / f"{case}.gguf"
    with gguf.open(path) as file:
        layers = file.get(f"{file.architecture}.block_count", int)
        weight = file.dequantize("output_norm.weight")
        eps = file.get(f"{file.architecture}.attention.layer_norm_rms_epsilon", float)
    names = [f"layer.{i}" for i in range(layers)]
    with halflap.load(path, devices=[device_name], kv_type="f32", ctx=128, taps=names) as model:
        found = model.hidden(PROMPT)
        some = model.hidden(PROMPT, layers=names[-1:], rows=[3, 17])
        np.testing.assert_allclose(some[names[-1]], found[names[-1]][[3, 17]], rtol=1e-4, atol=1e-5)
        answer = model.generate(PROMPT, **GREEDY)
    with halflap.load(path, devices=[device_name], kv_type="f32", ctx=128) as model:
        assert answer.text == model.generate(PROMPT, **GREEDY).text
    for layer in range(layers):
        rest = list(range(layer + 1, layers))
        with halflap.load(path, devices=[device_name], kv_type="f32", ctx=128, skip_layers=rest) as model:
            wanted = model.embed([PROMPT], pooling="none", normalize=False)
        x = found[f"layer.{layer}"].astype(np.float64)
        normed = x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + eps) * weight
        assert np.abs(normed - wanted).max() < 2e-3 * np.abs(wanted).max()


def test_a_tap_that_is_not_there_is_said(shared: Path) -> None:
    path = shared / "oracle" / "families" / "qwen3-base.gguf"
    with pytest.raises(InvalidRequestError, match=r"layer\.77"):
        halflap.load(path, devices=["cpu"], taps=["layer.77"])
    with halflap.load(path, devices=["cpu"], ctx=64, taps=["layer.1"]) as model:
        assert set(model.hidden([5, 6])) == {"layer.1"}
        with pytest.raises(InvalidRequestError, match=r"taps=\['layer.0'\]"):
            model.hidden([5, 6], layers=["layer.0"])
