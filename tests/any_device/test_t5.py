"""T5's encoder against a whole model's logits: its decoder is written out here, in numpy, on top of our rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

import halflap
from halflap import loading
from halflap.architectures.t5encoder import REACH, buckets
from halflap.weights import gguf_writer

F32 = npt.NDArray[np.float32]


def norm(x: F32, weight: F32) -> F32:
    return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + 1e-6) * weight


def attend(q: F32, k: F32, v: F32, bias: F32) -> F32:
    """All of (tokens, heads · 16); bias (heads, tokens, keys) or what broadcasts to that."""
    split = [x.reshape(len(x), -1, 16).swapaxes(0, 1) for x in (q, k, v)]
    scores = split[0] @ split[1].swapaxes(1, 2) + bias
    shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
    shares /= shares.sum(axis=-1, keepdims=True)
    return (shares @ split[2]).swapaxes(0, 1).reshape(len(q), -1)


def decoded(w: dict[str, F32], ids: list[int], encoded: F32, scaled: bool) -> F32:
    """Logits of the decoder's ids."""
    x = w["token_embd.weight"][ids]
    count, table = len(ids), w["dec.blk.0.attn_rel_b.weight"]
    places = np.arange(count)
    behind = np.maximum(places[:, None] - places[None, :], 0)
    exact, all_buckets = len(table) // 2, len(table)  # a decoder looks one way: twice the buckets for it
    far = exact + np.log(np.maximum(behind, 1) / exact) / np.log(REACH / exact) * (all_buckets - exact)
    bucket = np.where(behind < exact, behind, np.minimum(far.astype(int), all_buckets - 1))
    bias = np.where(places[None, :] > places[:, None], -np.inf, table[bucket].transpose(2, 0, 1))
    for i in range(2):
        b = f"dec.blk.{i}."
        h = norm(x, w[b + "attn_norm.weight"])
        q, k, v = (h @ w[f"{b}attn_{name}.weight"].T for name in "qkv")
        x = x + attend(q, k, v, bias) @ w[b + "attn_o.weight"].T
        q = norm(x, w[b + "cross_attn_norm.weight"]) @ w[b + "cross_attn_q.weight"].T
        k, v = (encoded @ w[f"{b}cross_attn_{name}.weight"].T for name in "kv")
        x = x + attend(q, k, v, np.zeros(1, np.float32)) @ w[b + "cross_attn_o.weight"].T
        h = norm(x, w[b + "ffn_norm.weight"])
        if b + "ffn_gate.weight" in w:
            g = h @ w[b + "ffn_gate.weight"].T
            h = g / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (g + 0.044715 * g**3))) * (h @ w[b + "ffn_up.weight"].T)
        else:
            h = np.maximum(h @ w[b + "ffn_up.weight"].T, 0)
        x = x + h @ w[b + "ffn_down.weight"].T
    x = norm(x, w["dec.output_norm.weight"])
    head = w.get("output.weight", w["token_embd.weight"])
    return (x * np.float32(64**-0.5 if scaled else 1)) @ head.T


@pytest.mark.parametrize("case", ["t5-base", "t5-tied"])
def test_the_encoders_rows_lead_a_decoder_to_the_oracles_logits(
    shared: Path, device_name: str, tmp_path: Path, case: str
) -> None:
    source = shared / "oracle" / "families" / f"{case}.gguf"
    with loading.open_model(source) as file:
        w = {n: np.array(file.tensor_bytes(n)).view(np.float32).reshape(i.shape) for n, i in file.tensors.items()}
        metadata = {key.replace("t5.", "t5encoder.", 1): value for key, value in file.metadata.items()}
    metadata["general.architecture"] = "t5encoder"
    mine = {name: value for name, value in w.items() if not name.startswith("dec.") and name != "output.weight"}
    path = tmp_path / "encoder.gguf"
    path.write_bytes(b"".join(bytes(chunk) for chunk in gguf_writer.chunks(metadata, mine)))
    answers = np.load(source.with_suffix(".npz"))
    ids = answers["tokens"].tolist()
    with halflap.load(path, devices=[device_name]) as model:
        rows = model.embed([ids, ids[:5], ids], pooling="none", normalize=False)
    logits = decoded(w, answers["dec_tokens"].tolist(), rows[: len(ids)], scaled=case == "t5-tied")
    wanted = answers["logits_hf"]
    assert np.abs(logits - wanted).max() / np.abs(wanted).max() < 2e-3
    np.testing.assert_allclose(rows[-len(ids) :], rows[: len(ids)], atol=1e-5)


def test_distances_fall_into_the_published_buckets() -> None:
    found = buckets(32)
    assert len(found) == 2 * REACH + 1
    assert [found[REACH - d] for d in (0, 1, 7, 8, 11, 12, 127, 128)] == [0, 1, 7, 8, 8, 9, 15, 15]
    assert [found[REACH + d] for d in (1, 7, 8, 128)] == [17, 23, 24, 31]
