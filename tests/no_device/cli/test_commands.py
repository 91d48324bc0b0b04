"""What the commands print: results on stdout, JSON on request, nothing else there."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from tests.no_device.cli.shell import COMMAND, environment, halflap

from halflap import __version__, plugins

ON = ("--devices", "reference")


def arguments_of(name: str, file: Path) -> tuple[str, ...]:
    """Arguments with which a command answers at once."""
    return {
        "run": ("hello", "-m", str(file), *ON, "-n", "4", "--seed", "1"),
        "chat": (str(file), *ON, "-n", "4", "--seed", "1"),  # without one, some answers hold an escape character
        "inspect": (str(file),),
        "convert": (str(file), "--output", str(file.with_suffix(".out")), "--force"),
        "plan": (str(file), *ON),
        "devices": (),
        "plugins": (),
        "bench": ("-m", str(file), *ON, "-p", "8", "-n", "4", "-r", "2"),
    }[name]


def own_commands() -> list[str]:
    return [entry.name for entry in plugins.entries("commands") if entry.owner == plugins.BUILT_IN]


@pytest.mark.parametrize("name", own_commands())
def test_every_command_prints_one_json_document(name: str, file: Path) -> None:
    done = halflap(name, *arguments_of(name, file), "--json", stdin="hello\n" if name == "chat" else None)
    assert done.code == 0, done.err
    assert done.json


@pytest.mark.parametrize("name", own_commands())
def test_every_command_prints_something_for_people(name: str, file: Path) -> None:
    done = halflap(name, *arguments_of(name, file), stdin="hello\n" if name == "chat" else None)
    assert done.code == 0, done.err
    assert done.out.strip()
    assert "\x1b" not in done.out + done.err, "no colours or progress in pipes"


@pytest.mark.parametrize("name", plugins.names("commands"))
def test_every_command_explains_itself_and_offers_json(name: str) -> None:
    done = halflap(name, "--help")
    assert done.code == 0
    assert done.out.startswith(f"Usage: halflap {name}")
    assert "--json" in done.out


def test_help_lists_every_command_with_and_without_being_asked() -> None:
    asked, bare = halflap("--help"), halflap()
    assert (asked.code, bare.code) == (0, 0)
    assert asked.out == bare.out
    for entry in plugins.entries("commands"):
        assert entry.name in asked.out


def test_version() -> None:
    assert halflap("--version").out == f"halflap, version {__version__}\n"


def test_run_reads_its_prompt_from_stdin(file: Path) -> None:
    options = ("-m", file, *ON, "-n", "6", "--temp", "0", "--raw", "--json")
    assert halflap("run", *options, stdin="hello").json["text"] == halflap("run", "hello", *options).json["text"]


def test_run_takes_bytes_on_stdin_that_are_no_text(file: Path) -> None:
    assert halflap("run", "-m", file, *ON, "-n", "2", stdin=b"\xff\xfe hello").code == 0


def test_the_same_seed_gives_the_same_answer(file: Path) -> None:
    options = ("run", "hello", "-m", file, *ON, "-n", "12", "--seed", "7", "--temp", "1.5")
    assert halflap(*options).out == halflap(*options).out


def test_other_options_reach_the_request(file: Path) -> None:
    options = ("run", "hello", "-m", file, *ON, "--raw", "--json", "-n", "5", "-o", "ignore_eos=true")
    done = halflap(*options, "-o", "temperature=0")
    assert done.json["usage"]["completion_tokens"] == 5
    assert done.json["finish_reason"] == "length"


def test_an_answer_can_be_held_to_a_schema_a_grammar_or_an_expression(tmp_path: Path) -> None:
    schema, grammar = tmp_path / "schema.json", tmp_path / "list.gbnf"
    schema.write_text('{"enum": ["fox", "hen"]}')
    grammar.write_text('root ::= "one" | "two"')
    for arguments, answers in (
        (("--json-schema", str(schema)), {'"fox"', '"hen"'}),
        (("--json-schema", '{"const": 7}'), {"7"}),
        (("--grammar", str(grammar)), {"one", "two"}),
        (("--grammar", 'start: "three"'), {"three"}),
        (("--grammar-file", str(grammar)), {"one", "two"}),
        (("--regex", "[ab]"), {"a", "b"}),
    ):
        done = halflap("run", "hello", *ON, *arguments)
        assert done.out.strip() in answers, (arguments, done.err)
    missing = halflap("run", "hello", *ON, "--grammar-file", str(tmp_path / "none"))
    assert (missing.code, "--grammar-file" in missing.err) == (2, True)
    both = halflap("run", "hello", *ON, "--grammar", "x", "--grammar-file", str(grammar))
    assert (both.code, "one of them" in both.err) == (2, True)


def test_a_reader_that_leaves_early_is_no_error(file: Path) -> None:
    shell = f"{' '.join(map(quoted, (*COMMAND, 'inspect', str(file), '--tensors', '--graph')))} | head -n 1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", shell], capture_output=True, text=True, env=environment(), timeout=60
    )
    assert done.stdout.count("\n") == 1
    assert (done.returncode, done.stderr) == (0, "")


def quoted(text: str) -> str:
    return f"'{text}'"


def test_a_saved_plan_loads_the_same_way(file: Path, tmp_path: Path) -> None:
    saved = tmp_path / "plan.json"
    made = halflap("plan", file, "--devices", "reference,reference", "-c", "64", "--save", saved, "--json")
    assert made.json["devices"] == ["reference", "reference"]
    asked = ("hello", "-m", file, "--raw", "-n", "4", "--temp", "0", "--json")
    planned = halflap("run", *asked, "--plan", saved)
    assert planned.json["text"] == halflap("run", *asked, *ON).json["text"]
    answers = halflap("chat", file, "--plan", saved, "-n", "4", "--json", stdin="hello\n")
    assert answers.json["usage"]["completion_tokens"] <= 4


def test_plan_allocates_nothing_and_says_what_it_would_take(file: Path) -> None:
    plan = halflap("plan", file, *ON, "-c", "128", "--json").json
    assert plan["ctx"] == 128
    assert plan["placed"][0]["weights"]
    assert plan["kv_bytes"] > 0
    shown = halflap("plan", file, *ON, "-c", "128").out
    assert "128 tokens" in shown
    assert "reference" in shown


def test_tables_fit_80_columns_and_are_not_wrapped_in_pipes(file: Path) -> None:
    for command in (("devices",), ("plugins",), ("plan", file, *ON), ("inspect", file)):
        narrow = halflap(*command, COLUMNS="80").out
        assert max(map(len, narrow.splitlines())) <= 80, command
    lines = halflap("plugins").out.splitlines()
    assert any(line.strip().startswith("architectures") and "gemma3" in line for line in lines)


def test_inspect_counts_tensors_by_type(file: Path) -> None:
    data = halflap("inspect", file, "--json", "--tensors").json
    assert data["tensors"]["F32"]["count"] == data["n_tensors"] == len(data["tensor_list"])
    assert data["metadata"]["general.architecture"] == "qwen3"


def test_inspect_shows_a_template_in_short_and_in_full(tmp_path: Path) -> None:
    from halflap.weights.gguf_writer import write

    template = "\n".join(f"{{# line {i} #}}" for i in range(40))
    path = tmp_path / "template.gguf"
    write(path, {"general.architecture": "llama", "tokenizer.chat_template": template})
    short, full = halflap("inspect", path), halflap("inspect", path, "--template")
    assert "line 3" in short.out
    assert "line 39" not in short.out
    assert "line 39" in full.out
    assert halflap("inspect", path, "--template", "--json").json["template"] == template


def test_inspect_strict_exits_1_where_something_is_suspicious(file: Path, tmp_path: Path) -> None:
    from halflap.weights.gguf_writer import write

    path = tmp_path / "odd.gguf"
    write(path, {"general.architecture": "llama", "llama.block_count": -3, "tokenizer.chat_template": "{% if %}"})
    found = halflap("inspect", path, "--strict", "--json")
    assert found.code == 1
    assert found.json["suspicious"]
    assert halflap("inspect", path).code == 0


def test_bench_has_llama_benchs_keys_and_columns(file: Path) -> None:
    prefill, decode = halflap("bench", "-m", file, *ON, "-p", "8", "-n", "4", "-r", "3", "-o", "json").json
    assert (prefill["n_prompt"], prefill["n_gen"], decode["n_prompt"], decode["n_gen"]) == (8, 0, 0, 4)
    for result in (prefill, decode):
        assert len(result["samples_ts"]) == len(result["samples_ns"]) == 3
        assert result["avg_ts"] == pytest.approx(sum(result["samples_ts"]) / 3)
        assert result["stddev_ts"] >= 0
    table = halflap("bench", "-m", file, *ON, "-p", "8", "-n", "4,6", "-r", "1").out.splitlines()
    assert table[0].split() == ["model", "size", "params", "backend", "threads", "test", "t/s"]
    assert [next(word for word in line.split() if word[:2] in ("pp", "tg")) for line in table[1:]] == [
        "pp8",
        "tg4",
        "tg6",
    ]


def test_devices_check_remembers_its_outcome(tmp_path: Path) -> None:
    checked = halflap("devices", "--check", "reference", "--json", XDG_CACHE_HOME=str(tmp_path))
    assert checked.code == 0
    assert checked.json["cases"] > 100
    listed = halflap("devices", "--json", XDG_CACHE_HOME=str(tmp_path)).json
    assert next(d for d in listed if d["id"] == "reference")["certificate"] == checked.json


def test_with_no_plugins_the_built_ins_are_left(file: Path) -> None:
    assert [d["id"] for d in halflap("devices", "--json", HALFLAP_PLUGINS="").json] == ["reference"]
    assert halflap("run", "hello", "-m", file, "-n", "2", HALFLAP_PLUGINS="").code == 0


def test_a_plugin_that_is_asked_for_and_not_installed_is_said(file: Path) -> None:
    listed = halflap("plugins", "--json", HALFLAP_PLUGINS="no-such-plugin").json
    missing = next(plugin for plugin in listed if plugin["name"] == "no-such-plugin")
    assert "HALFLAP_PLUGINS" in missing["error"]


def test_run_takes_another_chat_template_and_says_what_is_wrong_with_one(file: Path, tmp_path: Path) -> None:
    options = ("-m", file, *ON, "-n", "2", "--temp", "0", "--json")
    template = tmp_path / "chat.jinja"
    template.write_text("{{ messages[0].content }}!")
    by_text = halflap("run", "hello", *options, "--chat-template", template.read_text())
    by_file = halflap("run", "hello", *options, "--chat-template-file", template, "--reasoning", "off")
    assert by_text.code == by_file.code == 0, by_text.err + by_file.err
    assert by_text.json["text"] == by_file.json["text"]
    for wrong, said in (
        (("--chat-template", "lama3"), "llama3"),
        (("--chat-template", "llama3", "--chat-template-file", template), "one of them"),
        (("--chat-template-file", tmp_path / "none"), "none"),
        (("--reasoning-budget", "-2"), "reasoning_budget"),
    ):
        done = halflap("run", "hello", *options, *wrong)
        assert done.code == 2, (wrong, done.err)
        assert said in done.err + done.out
        assert "Traceback" not in done.err
