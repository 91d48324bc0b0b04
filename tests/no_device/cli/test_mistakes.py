"""A user's mistake: one line with the mend, exit code 2 (1 for the model's), no traceback."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.no_device.cli.shell import halflap, mistake

ON = ("--devices", "reference")


@pytest.mark.parametrize("command", [("run", "hi", "-m"), ("inspect",), ("plan",), ("chat",), ("bench", "-m")])
def test_a_missing_file_is_named_and_so_are_the_registered_models(command: tuple[str, ...]) -> None:
    said = mistake(*command, "no/such.gguf", code=1)
    assert "'no/such.gguf': got no such file" in said


def test_a_folder_is_no_model(tmp_path: Path) -> None:
    assert "got a folder" in mistake("inspect", tmp_path, code=1)


def test_an_empty_file_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "empty.gguf"
    path.touch()
    assert "want those of gguf" in mistake("run", "hi", "-m", path, code=1)


def test_another_kind_of_file_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("PK\x03\x04 and so on, for more than a header's length")
    assert "want those of gguf" in mistake("inspect", path, code=1)


@pytest.mark.parametrize("part", [5, 23, 1000, 40_000, -1])
def test_a_truncated_file_is_refused(file: Path, tmp_path: Path, part: int) -> None:
    path = tmp_path / "cut.gguf"
    path.write_bytes(file.read_bytes()[:part])
    mistake("run", "hi", "-m", path, *ON, code=1)


def test_a_file_that_may_not_be_opened_is_said_so(tmp_path: Path) -> None:
    loop = tmp_path / "loop.gguf"
    loop.symlink_to(loop)
    mistake("inspect", loop, code=1)


def test_an_unknown_command_is_answered_with_those_there_are() -> None:
    said = mistake("inspct")
    assert "'inspct'" in said
    assert "inspect" in said


def test_an_unknown_option_of_a_command_is_named() -> None:
    said = mistake("run", "--tensor-splt", "1")
    assert "got '--tensor-splt'" in said
    assert "--tensor-split" in said
    assert "halflap run --help" in said


def test_a_misspelt_request_option_is_answered_with_the_nearest(file: Path) -> None:
    said = mistake("run", "hi", "-m", file, *ON, "-o", "temprature=1")
    assert "got 'temprature'" in said
    assert "Did you mean 'temperature'?" in said
    assert "Did you mean 'temperature'?" in mistake("chat", file, *ON, "-o", "temprature=1")


@pytest.mark.parametrize("option", ["temperature", "=1", "temperature="])
def test_a_request_option_without_two_parts_is_refused(file: Path, option: str) -> None:
    assert "'='" in mistake("run", "hi", "-m", file, *ON, "-o", option)


@pytest.mark.parametrize("option", [("-n", "-5"), ("--temp", "-1"), ("--top-p", "7"), ("-o", "seed=hello")])
def test_a_value_out_of_range_is_refused(file: Path, option: tuple[str, str]) -> None:
    assert "want" in mistake("run", "hi", "-m", file, *ON, *option)


@pytest.mark.parametrize("option", [("-n", "many"), ("-c", "0"), ("-t", "0"), ("--seed", "x")])
def test_a_value_of_the_wrong_kind_is_refused(file: Path, option: tuple[str, str]) -> None:
    assert option[0] in mistake("run", "hi", "-m", file, *ON, *option)


@pytest.mark.parametrize(
    ("option", "value", "place"),
    [
        ("--tensor-split", "63，37", 3),
        ("--tensor-split", "63 37", 3),
        ("--tensor-split", "63,37,1", 6),
        ("--tensor-split", "63", 2),
        ("--layers", "1.5,1", 2),
        ("--caps", "1000，1000", 5),
    ],
)
def test_a_split_that_cannot_be_read_names_the_character(file: Path, option: str, value: str, place: int) -> None:
    said = mistake("plan", file, "--devices", "reference,reference", option, value)
    assert option in said
    assert f"character {place}" in said


@pytest.mark.parametrize(
    ("value", "place"),
    [("reference，reference", 10), ("reference,,reference", 11), (",reference", 1), ("", 1), ("a b;", 4)],
)
@pytest.mark.parametrize("command", [("plan",), ("bench", "-p", "4", "-n", "0", "-m")])
def test_a_device_list_that_cannot_be_read_names_the_character(
    file: Path, command: tuple[str, ...], value: str, place: int
) -> None:
    said = mistake(*command, file, "--devices", value)
    assert f"character {place}" in said


def test_layers_that_do_not_add_up_are_refused(file: Path) -> None:
    assert "got 3 in all, want 2" in mistake("plan", file, "--devices", "reference,reference", "--layers", "2,1")


def test_an_unknown_device_is_answered_with_those_there_are(file: Path) -> None:
    said = mistake("run", "hi", "-m", file, "--devices", "cuda:0")
    assert "got 'cuda'" in said
    assert "'reference'" in said
    assert "got 'reference:7'" in mistake("plan", file, "--devices", "reference:7")
    assert "got 'nope'" in mistake("devices", "--check", "nope")


def test_a_pin_to_a_device_that_is_not_in_use_is_refused(file: Path) -> None:
    assert "got 'cuda:0'" in mistake("plan", file, *ON, "--pin", "blk.*=cuda:0")
    assert "'='" in mistake("plan", file, *ON, "--pin", "blk.*")


def test_a_cap_too_small_says_what_is_lacking(file: Path) -> None:
    assert "It lacks" in mistake("plan", file, *ON, "--caps", "10", "-c", "64")


def test_an_unknown_cache_type_is_refused(file: Path) -> None:
    assert "'q7_0'" in mistake("plan", file, *ON, "--kv-type", "q7_0")
    assert "3 types" in mistake("plan", file, *ON, "--kv-type", "f16,f16,f16")


def test_a_prompt_longer_than_the_context_says_both_lengths(file: Path) -> None:
    said = mistake("run", "word " * 100, "-m", file, *ON, "-c", "32", "--raw")
    assert "fewer than the context's 32" in said


def test_no_prompt_at_all_is_said(file: Path) -> None:
    assert "prompt: got none" in mistake("run", "-m", file, *ON)


def test_bench_needs_something_to_measure(file: Path) -> None:
    mistake("bench", "-m", file, *ON, "-p", "0", "-n", "0")
    assert "--n-prompt" in mistake("bench", "-m", file, *ON, "-p", "8，16")


def test_a_plan_file_that_is_none_is_refused(file: Path, tmp_path: Path) -> None:
    bad = tmp_path / "plan.json"
    bad.write_text('{"devices": ["reference"]}')
    assert "halflap plan" in mistake("run", "hi", "-m", file, "--plan", bad)
    assert "halflap plan" in mistake("run", "hi", "-m", file, "--plan", tmp_path / "none.json")
    for text in ("[]", "7", '"x"', '{"limits": 1}'):
        bad.write_text(text)
        mistake("run", "hi", "-m", file, "--plan", bad)


def test_a_plan_beside_wishes_is_refused(file: Path, tmp_path: Path) -> None:
    saved = tmp_path / "plan.json"
    halflap("plan", file, *ON, "--save", saved)
    assert "--devices beside it" in mistake("run", "hi", "-m", file, "--plan", saved, *ON)


def test_a_plan_for_another_model_is_refused(file: Path, shared: Path, tmp_path: Path) -> None:
    saved = tmp_path / "plan.json"
    halflap("plan", shared / "oracle" / "families" / "gemma3-base.gguf", *ON, "--save", saved)
    assert "want a plan made for this model" in mistake("run", "hi", "-m", file, "--plan", saved)


def test_a_plan_that_cannot_be_written_is_said(file: Path, tmp_path: Path) -> None:
    assert "want a path that can be written" in mistake("plan", file, *ON, "--save", tmp_path / "no" / "plan.json")


def test_a_plugin_restricted_away_is_not_there(file: Path) -> None:
    assert "got 'cpu'" in mistake("run", "hi", "-m", file, "--devices", "cpu", HALFLAP_PLUGINS="")


def test_with_json_an_error_is_json_too(file: Path) -> None:
    done = halflap("run", "hi", "-m", file, *ON, "-o", "temprature=1", "--json")
    assert done.code == 2
    assert done.json["error"]["code"] == "invalid_request"
    assert done.json["error"]["field"] == "temprature"
    assert done.err.count("\n") == 1
    assert halflap("run", "--nope", "--json").json["error"]["code"] == "usage"
