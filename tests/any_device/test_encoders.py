"""Models that read and do not write: what they refuse, how they pool, and classifiers on top of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import halflap
from halflap import loading
from halflap.errors import ContextOverflowError, HalflapError, InvalidRequestError, ModelFormatError
from halflap.weights import gguf_writer
from tests.any_device.conftest import row_invariant_devices

IDS = [7, 60, 201, 33, 90]


def changed(path: Path, case: Path, tensors: dict[str, np.ndarray], **keys: object) -> Path:
    """The case's file with more tensors, and other keys of its architecture ("." written as "__")."""
    with loading.open_model(case) as file:
        every = {
            name: np.array(file.tensor_bytes(name)).view(np.float32).reshape(info.shape)
            for name, info in file.tensors.items()
        }
        metadata = {**file.metadata}
        metadata.update({f"{file.architecture}.{key.replace('__', '.')}": value for key, value in keys.items()})
        path.write_bytes(b"".join(bytes(chunk) for chunk in gguf_writer.chunks(metadata, {**every, **tensors})))
    return path


def drawn(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32) / 8


@pytest.fixture
def families(shared: Path) -> Path:
    return shared / "oracle" / "families"


def test_an_encoder_writes_nothing_and_says_so(families: Path, device_name: str) -> None:
    with halflap.load(families / "bert-base.gguf", devices=[device_name], overrides={"bert.pooling_type": 3}) as model:
        assert model.info.pooling == "last"
        assert model.info.outputs == ("hidden",)
        for ask in (model.generate, model.stream, model.logits):
            with pytest.raises(InvalidRequestError, match=r"bert, which gives hidden.*want one that gives logits"):
                ask(IDS)
        with pytest.raises(InvalidRequestError, match="want one that gives scores"):
            model.embed([IDS], pooling="rank")
        with pytest.raises(InvalidRequestError, match="'sum'"):
            model.embed([IDS], pooling="sum")
        assert model.embed([]).shape == (0, 64)
        assert model.metrics.blocks_total == {}


def test_a_text_longer_than_a_step_names_both_numbers(families: Path, device_name: str) -> None:
    with halflap.load(families / "modernbert-base.gguf", devices=[device_name], ctx=64) as model:
        with pytest.raises(ContextOverflowError, match=r"got 65 tokens.*64"):
            model.embed([[5] * 65])
        assert model.embed([[5] * 64]).shape == (1, 64)


def test_many_texts_share_steps(families: Path, device_name: str) -> None:
    texts = [[(7 * i + j) % 300 for j in range(1 + i % 40)] for i in range(300)]
    with halflap.load(families / "bert-base.gguf", devices=[device_name]) as model:
        rows = model.embed(texts)
        assert model.metrics.steps < len(texts)
        for place in (0, 41, 299):
            np.testing.assert_allclose(rows[place], model.embed([texts[place]])[0], atol=1e-5)


@pytest.mark.parametrize("pooling", ["none", "mean", "cls", "last"])
def test_a_file_says_how_to_pool(families: Path, device_name: str, tmp_path: Path, pooling: str) -> None:
    number = ("none", "mean", "cls", "last").index(pooling)
    path = changed(tmp_path / "pooled.gguf", families / "bert-base.gguf", {}, pooling_type=np.uint32(number))
    with halflap.load(path, devices=[device_name]) as model:
        assert model.info.pooling == pooling
        each = model.embed([IDS], pooling="none", normalize=False)
        found = model.embed([IDS], normalize=False)
    want = {"none": each, "mean": each.mean(axis=0)[None], "cls": each[:1], "last": each[-1:]}[pooling]
    np.testing.assert_allclose(found, want, atol=1e-5)


def test_a_classifier_scores_the_first_token(families: Path, device_name: str, tmp_path: Path) -> None:
    head = {
        "cls.weight": drawn(64, 64),
        "cls.bias": drawn(64),
        "cls.output.weight": drawn(3, 64),
        "cls.output.bias": drawn(3),
    }
    path = changed(tmp_path / "ranks.gguf", families / "xlmr-base.gguf", head, pooling_type=np.uint32(4))
    with halflap.load(path, devices=[device_name]) as model:
        scores = model.embed([IDS, IDS[:3]])
        hidden = model.embed([IDS, IDS[:3]], pooling="cls", normalize=False)
    inner = np.tanh(hidden @ head["cls.weight"].T + head["cls.bias"])
    np.testing.assert_allclose(scores, inner @ head["cls.output.weight"].T + head["cls.output.bias"], atol=2e-3)


def test_documents_are_ranked_by_the_first_score_of_their_pair(
    families: Path, device_name: str, tmp_path: Path
) -> None:
    head = {"cls.weight": drawn(2, 64)}
    path = changed(tmp_path / "ranks.gguf", families / "xlmr-base.gguf", head)
    documents = ["it is red", "", "no, <s> blue"]
    with halflap.load(path, devices=[device_name], overrides={"tokenizer.ggml.add_bos_token": True}) as model:
        words = model.tokenizer
        end, parts = words.eos_id, [words.encode(text, add_special=False) for text in ("which?", *documents)]
        pairs = [[words.bos_id, *parts[0], end, end, *part, end] for part in parts[1:]]
        found = model.rank("which?", documents)
        assert found.shape == (3,)
        exact = device_name in row_invariant_devices()
        np.testing.assert_allclose(found, model.embed(pairs, pooling="rank")[:, 0], rtol=0 if exact else 1e-5)
        assert model.rank("which?", []).shape == (0,)
    with (
        halflap.load(families / "bert-base.gguf", devices=[device_name]) as model,
        pytest.raises(InvalidRequestError, match="want one that gives scores"),
    ):
        model.rank("which?", documents)


def test_a_classifier_may_be_one_map(families: Path, device_name: str, tmp_path: Path) -> None:
    head = {"cls.weight": drawn(2, 64)}
    with halflap.load(
        changed(tmp_path / "one.gguf", families / "bert-base.gguf", head), devices=[device_name]
    ) as model:
        hidden = model.embed([IDS], pooling="cls", normalize=False)
        np.testing.assert_allclose(model.embed([IDS], pooling="rank"), hidden @ head["cls.weight"].T, atol=2e-3)


def test_modernberts_classifier_norms_what_it_maps(families: Path, device_name: str, tmp_path: Path) -> None:
    head = {"cls.weight": drawn(64, 64), "cls.norm.weight": drawn(64), "cls.output.weight": drawn(3, 64)}
    case = families / "modernbert-base.gguf"
    with halflap.load(changed(tmp_path / "m.gguf", case, head), devices=[device_name]) as model:
        assert model.embed([IDS], pooling="rank").shape == (1, 3)
    by_mean = changed(tmp_path / "mean.gguf", case, head, classifier__pooling_type=np.uint32(1))
    with halflap.load(by_mean, devices=[device_name]) as model, pytest.raises(InvalidRequestError, match="scores"):
        model.embed([IDS], pooling="rank")


def test_maps_behind_the_norm_apply_to_the_pooled_row(families: Path, device_name: str, tmp_path: Path) -> None:
    maps = {"dense_2.weight": drawn(96, 64), "dense_3.weight": drawn(48, 96)}
    case = families / "embgemma-base.gguf"
    with halflap.load(case, devices=[device_name]) as model:
        plain = model.embed([IDS], normalize=False)
    with halflap.load(changed(tmp_path / "maps.gguf", case, maps), devices=[device_name]) as model:
        found = model.embed([IDS], normalize=False)
    np.testing.assert_allclose(found, plain @ maps["dense_2.weight"].T @ maps["dense_3.weight"].T, atol=2e-3)


def test_what_does_not_fit_together_is_refused(families: Path, tmp_path: Path) -> None:
    case = families / "modernbert-base.gguf"
    for message, tensors, keys in (
        ("attention.causal", {}, {"attention__causal": True}),
        ("'swish'", {}, {"hidden_activation": "swish"}),
        ("cls.norm.weight", {"cls.weight": drawn(64, 64), "cls.output.weight": drawn(3, 64)}, {}),
        ("ffn_up", {}, {"feed_forward_length": np.uint32(95)}),
    ):
        path = changed(tmp_path / "wrong.gguf", case, tensors, **keys)
        with loading.open_model(path) as file, pytest.raises(HalflapError, match=message):
            loading.open_architecture(file)
    path = changed(tmp_path / "types.gguf", families / "bert-base.gguf", {"cls.weight": drawn(3, 65)})
    with loading.open_model(path) as file, pytest.raises(ModelFormatError, match=r"cls\.weight"):
        loading.open_architecture(file)
