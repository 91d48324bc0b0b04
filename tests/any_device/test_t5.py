"""T5 whole, and its encoder alone: for that one the decoder is written out here, in numpy, on top of our rows."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

import halflap
from halflap import loading
from halflap.architectures.t5encoder import REACH, buckets
from halflap.errors import ContextOverflowError, InvalidRequestError
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


@pytest.fixture(params=["t5-base", "t5-tied"])
def path(request: pytest.FixtureRequest, shared: Path) -> Path:
    return shared / "oracle" / "families" / f"{request.param}.gguf"


def test_a_whole_model_gives_the_oracles_logits_and_greedy_tokens(path: Path, device_name: str) -> None:
    answers = np.load(path.with_suffix(".npz"))
    read, said, greedy = (answers[name].tolist() for name in ("tokens", "dec_tokens", "greedy"))
    wanted = np.concatenate([answers["logits_hf"], answers["greedy_logits_hf"]])
    with halflap.load(path, devices=[device_name], kv_type="f32") as model:
        logits = model.logits(said + greedy, encoder_ids=read)
        assert np.abs(logits - wanted).max() < 2e-3 * np.abs(wanted).max()
        assert logits[len(said) - 1 : -1].argmax(axis=1).tolist() == greedy
        again = model.logits(said + greedy, encoder_ids=read, rows=[0, len(said)])
        np.testing.assert_allclose(again, logits[[0, len(said)]], atol=1e-5)


def test_the_encoder_reads_the_prompt_and_the_decoder_answers(path: Path, device_name: str) -> None:
    texts = [[(i * 13 + j * 7) % 300 + 5 for j in range(1 + 9 * i)] for i in range(6)]
    with halflap.load(path, devices=[device_name], kv_type="f32") as model:
        alone = []
        for text in texts:
            done = model.generate(text, max_tokens=8, temperature=0, ignore_eos=True)
            said = [token.id for token in done.tokens]
            logits = model.logits([0, *said], encoder_ids=text)
            assert logits[:-1].argmax(axis=1).tolist() == said
            assert done.usage.prompt_tokens == len(text) + 1
            alone.append(said)
        streams = [model.stream(text, max_tokens=8, temperature=0, ignore_eos=True) for text in texts]
        assert [[token.id for token in stream.result().tokens] for stream in streams] == alone
        assert model.generate("a text", max_tokens=3, temperature=0).tokens
        assert not any(model.metrics.blocks_used.values())


def test_a_model_over_two_devices_gives_the_same_logits(path: Path, device_name: str) -> None:
    answers = np.load(path.with_suffix(".npz"))
    read, said, wanted = answers["tokens"].tolist(), answers["dec_tokens"].tolist(), answers["logits_hf"]
    for split in ([1, 1], [3, 1], [1, 3]):
        with halflap.load(path, devices=["reference", device_name], split=split, kv_type="f32") as model:
            logits = model.logits(said, encoder_ids=read)
            assert np.abs(logits - wanted).max() < 2e-3 * np.abs(wanted).max()


def test_quantised_rows_of_the_text_are_rotated_like_those_of_the_answer(path: Path, device_name: str) -> None:
    answers = np.load(path.with_suffix(".npz"))
    read, said, wanted = answers["tokens"].tolist(), answers["dec_tokens"].tolist(), answers["logits_hf"]
    with halflap.load(path, devices=[device_name], kv_type="f16", kv_rotation=True) as model:
        logits = model.logits(said, encoder_ids=read)
    assert np.abs(logits - wanted).max() < 5e-3 * np.abs(wanted).max()


def test_what_an_encoder_cannot_read_is_refused(path: Path, device_name: str) -> None:
    with halflap.load(path, devices=[device_name], ctx=64) as model:
        with pytest.raises(InvalidRequestError, match="encoder_ids"):
            model.logits([0, 5])
        with pytest.raises(InvalidRequestError, match="token id"):
            model.logits([0, 5], encoder_ids=[4000])
        with pytest.raises(ContextOverflowError):
            model.generate([5] * 2000, max_tokens=2)
        with pytest.raises(InvalidRequestError, match="encoder reads it"):
            model.save_prefix([5] * 60, "nowhere")
        with pytest.raises(InvalidRequestError, match="hidden"):
            model.embed("a text")
        assert model.logits([0, 5], encoder_ids=[7]).shape == (2, 320)


def test_embeddings_are_placed_once(path: Path) -> None:
    plan = halflap.plan(path, devices=["reference"])
    with loading.open_model(path) as file:
        assert sum(plan.placed[0].weights.values()) == sum(4 * math.prod(i.shape) for i in file.tensors.values())


def test_distances_fall_into_the_published_buckets() -> None:
    found = buckets(32)
    assert len(found) == 2 * REACH + 1
    assert [found[REACH - d] for d in (0, 1, 7, 8, 11, 12, 127, 128)] == [0, 1, 7, 8, 8, 9, 15, 15]
    assert [found[REACH + d] for d in (1, 7, 8, 128)] == [17, 23, 24, 31]
    found = buckets(32, one_way=True)
    assert [found[REACH - d] for d in (-1, 0, 1, 15, 16, 18, 128)] == [0, 0, 1, 15, 16, 16, 31]
