"""llama-server's own routes."""

from __future__ import annotations

from pathlib import Path

import pytest

from halflap_server.settings import Settings
from tests.plugins.server.kit import GREEDY, Running, running, starter


def test_a_completion_has_llama_servers_members(server: Running) -> None:
    reply = server.post(
        "/completion",
        {"prompt": "The fox", "n_predict": 6, "temperature": 0, "ignore_eos": True, "return_tokens": True},
    ).json()
    wanted = (
        "content tokens stop generation_settings model prompt stop_type stopping_word timings tokens_cached truncated"
    )
    assert set(wanted.split()) <= set(reply)
    assert (reply["stop"], reply["stop_type"], len(reply["tokens"])) == (True, "limit", 6)
    stopped = server.post("/completion", {"prompt": "The fox", "stop": [" "], **GREEDY}).json()
    assert (stopped["stop_type"], stopped["stopping_word"]) == ("word", " ")
    asked = {"prompt": "The fox", "response_fields": ["content", "timings/predicted_n"], **GREEDY}
    assert set(server.post("/completion", asked).json()) == {"content", "predicted_n"}


def test_a_streamed_completion_ends_with_the_whole_facts(server: Running) -> None:
    events = server.events(
        "/completion", {"prompt": "The fox", "stream": True, "n_probs": 2, "return_progress": True, **GREEDY}
    )
    whole = server.post("/completion", {"prompt": "The fox", **GREEDY}).json()
    assert "".join(data["content"] for _, data in events) == whole["content"]
    last = events[-1][1]
    assert last["stop"] is True
    assert last["timings"]["predicted_n"] == whole["timings"]["predicted_n"]
    assert any("prompt_progress" in data for _, data in events)
    told = [t for _, data in events for t in data.get("completion_probabilities", ())]
    assert len(told) == whole["timings"]["predicted_n"]


def test_prompts_may_mix_texts_and_ids(server: Running) -> None:
    ids = server.post("/tokenize", {"content": " fox"}).json()["tokens"]
    mixed = server.post("/completion", {"prompt": ["The", *ids], **GREEDY}).json()
    assert mixed["content"] == server.post("/completion", {"prompt": "The fox", **GREEDY}).json()["content"]
    several = server.post("/completion", {"prompt": ["The fox", ["A", *ids]], **GREEDY}).json()
    assert [one["content"] == mixed["content"] for one in several] == [True, False]


def test_tokens_and_text_go_both_ways(server: Running) -> None:
    told = server.post("/tokenize", {"content": "The fox é", "with_pieces": True}).json()["tokens"]
    ids = [token["id"] for token in told]
    assert server.post("/detokenize", {"tokens": ids}).json()["content"] == "The fox é"
    assert "".join(t["piece"] for t in told if isinstance(t["piece"], str)).startswith("The fox")
    prompt = server.post("/apply-template", {"messages": [{"role": "user", "content": "Hi"}]}).json()["prompt"]
    assert "Hi" in prompt
    count = server.post("/v1/chat/completions/input_tokens", {"messages": [{"role": "user", "content": "Hi"}]}).json()
    reply = server.post(
        "/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
    ).json()
    assert count == {"input_tokens": reply["usage"]["prompt_tokens"]}


def test_props_say_how_the_model_is_served(server: Running) -> None:
    props = server.get("/props").json()
    assert (props["model_alias"], props["default_generation_settings"]["n_ctx"]) == ("starter", 512)
    assert props["total_slots"] == len(server.get("/slots").json())
    assert "<|im_start|>" in props["chat_template"]
    assert props["chat_template_caps"]["tools"] is True


def test_a_model_without_infill_tokens_says_so(server: Running) -> None:
    response = server.post("/infill", {"input_prefix": "def f(", "input_suffix": "return 1"})
    assert response.status_code == 400
    assert "starter" in response.json()["error"]["message"]


def test_health_metrics_and_version(server: Running) -> None:
    server.post("/completion", {"prompt": "The fox", **GREEDY})
    assert server.get("/health").json() == {"status": "ok"}
    page = server.get("/metrics").text
    theirs = (
        "prompt_tokens_total prompt_seconds_total prompt_tokens_seconds tokens_predicted_total "
        "tokens_predicted_seconds_total predicted_tokens_seconds requests_processing requests_deferred n_tokens_max "
        "n_decode_total n_busy_slots_per_decode spec_decode_num_draft_tokens_total "
        "spec_decode_num_accepted_tokens_total spec_decode_num_drafts_total"
    )
    values = dict(line.rsplit(" ", 1) for line in page.splitlines() if not line.startswith("#"))
    for name in theirs.split():
        assert float(values[f"llamacpp:{name}"]) >= 0
    assert "llamacpp:spec_decode_num_accepted_tokens_per_pos" in page
    assert float(values["llamacpp:tokens_predicted_total"]) > 0
    assert float(values['halflap_generated_tokens_total{model="starter"}']) > 0
    buckets = [float(v) for k, v in values.items() if k.startswith("halflap_first_token_seconds_bucket")]
    assert buckets == sorted(buckets)
    assert buckets[-1] == float(values['halflap_first_token_seconds_count{model="starter"}']) > 0


def test_a_slot_is_saved_restored_and_erased(tmp_path: Path) -> None:
    text = "Once there was a fox who liked the river. " * 6
    with running(starter(), settings=Settings(port=0, slot_save_path=tmp_path)) as server:
        done = server.post("/completion", {"prompt": text, "id_slot": 3, "n_predict": 4, "temperature": 0}).json()
        slot = server.get("/slots").json()[3]
        assert (slot["is_processing"], slot["next_token"]["n_decoded"]) == (False, 4)
        saved = server.post("/slots/3?action=save", {"filename": "fox.bin"}).json()
        assert saved["n_saved"] > 32
        assert saved["n_written"] == (tmp_path / "fox.bin").stat().st_size
        with running(starter(), settings=Settings(port=0, slot_save_path=tmp_path)) as other:
            restored = other.post("/slots/0?action=restore", {"filename": "fox.bin"}).json()
            assert restored["n_restored"] == saved["n_saved"]
            again = other.post("/completion", {"prompt": text, "n_predict": 4, "temperature": 0}).json()
            assert again["content"] == done["content"]
            assert again["tokens_cached"] >= done["tokens_evaluated"] - 64
        assert server.post("/slots/3?action=erase").json()["n_erased"] == done["tokens_evaluated"] + 4
        for wrong in ("../fox.bin", "", ".hidden", "a/b", "x" * 300):
            response = server.post("/slots/0?action=restore", {"filename": wrong})
            assert (response.status_code, response.json()["error"]["param"]) == (400, "filename")
        assert server.post("/slots/0?action=restore", {"filename": "none.bin"}).status_code == 404


@pytest.mark.parametrize("path", ["/slots/99?action=erase", "/slots/0?action=eat"])
def test_slots_that_are_not_there_are_refused(server: Running, path: str) -> None:
    assert server.post(path).status_code == 400


def test_a_time_limit_ends_the_answer_and_is_no_failure(server: Running) -> None:
    pytest.importorskip("llguidance")
    body = {"prompt": "So:", "grammar": 'root ::= [a-z]{5} "\\n" [a-z]{300}', "temperature": 0, "n_predict": 300}
    response = server.post("/completion", {**body, "t_max_predict_ms": 1})
    reply = response.json()
    assert (response.status_code, reply["stop_type"], reply["has_new_line"]) == (200, "limit", True)
    assert 0 < reply["tokens_predicted"] < 300
    events = server.events("/completion", {**body, "t_max_predict_ms": 1, "stream": True})
    assert events[-1][1]["stop_type"] == "limit"
    shallow = server.post("/completion", {**body, "n_indent": 2}).json()
    assert (shallow["stop_type"], len(shallow["content"])) == ("limit", 6)


def test_probabilities_after_the_samplers_sum_to_one(server: Running) -> None:
    body = {"prompt": "The fox", "n_predict": 5, "n_probs": 4, "top_k": 3, "temperature": 0.5, "seed": 1}
    after = server.post("/completion", {**body, "post_sampling_probs": True}).json()["completion_probabilities"]
    before = server.post("/completion", body).json()["completion_probabilities"]
    assert [one["id"] for one in after] == [one["id"] for one in before]
    for one, raw in zip(after, before, strict=True):
        assert sum(each["prob"] for each in one["top_probs"]) == pytest.approx(1)
        assert len(one["top_probs"]) <= 3 < len(raw["top_logprobs"])
        assert one["prob"] in [each["prob"] for each in one["top_probs"]]


def test_a_text_that_is_biased_is_each_of_its_tokens(server: Running) -> None:
    ids = server.post("/tokenize", {"content": " the river"}).json()["tokens"]
    assert len(ids) > 1
    body = {"prompt": "The fox", "return_tokens": True, **GREEDY}
    by_text = server.post("/completion", {**body, "logit_bias": [[" the river", False]]}).json()
    by_ids = server.post("/completion", {**body, "logit_bias": [[token, False] for token in ids]}).json()
    by_key = server.post("/completion", {**body, "logit_bias": {" the river": -1e4, "7": 0}}).json()
    assert by_text["content"] == by_ids["content"] == by_key["content"]
    assert not set(by_text["tokens"]) & set(ids)
    forced = server.post("/completion", {**body, "logit_bias": [["q", 1e4]], "max_tokens": 3}).json()
    assert forced["content"] == "qqq"


def test_replies_and_slots_name_the_slot_and_its_lines(server: Running) -> None:
    pytest.importorskip("llguidance")
    for text, lines in (('"ab"', False), ('"a\\nb"', True)):
        for stream in (False, True):
            body = {"prompt": "So:", "grammar": f"root ::= {text}", "id_slot": 2, "stream": stream, **GREEDY}
            reply = server.events("/completion", body)[-1][1] if stream else server.post("/completion", body).json()
            assert (reply["id_slot"], reply["has_new_line"]) == (2, lines)
            assert server.get("/slots").json()[2]["next_token"]["has_new_line"] is lines


def test_the_beginning_of_a_prompt_stays_when_the_context_is_full(server: Running) -> None:
    body = {"prompt": "Once there was a fox. " * 20, "n_predict": 600, "temperature": 0, "ignore_eos": True,
            "overflow": "drop_oldest"}  # fmt: skip
    kept, dropped = (server.post("/completion", {**body, "n_keep": keep}).json() for keep in (-1, 0))
    assert kept["truncated"] is dropped["truncated"] is True
    assert kept["tokens_predicted"] == dropped["tokens_predicted"] == 600
    assert kept["content"] != dropped["content"]


def test_mirostat_has_two_versions(server: Running) -> None:
    body = {"prompt": "The fox", "n_predict": 20, "seed": 3, "ignore_eos": True, "temperature": 2}
    said = [server.post("/completion", {**body, "mirostat": version}).json()["content"] for version in (0, 1, 2)]
    assert len(set(said)) == 3
