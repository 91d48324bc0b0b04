"""halflap chat, as somebody at a terminal sees it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.no_device.cli.shell import halflap
from tests.no_device.cli.terminal import Terminal

CTRL_C, CTRL_D = "\x03", "\x04"
ON = ("--devices", "reference", "--temp", "0", "-o", "ignore_eos=true")


@pytest.fixture
def chat(file: Path) -> Iterator[Terminal]:
    with Terminal("chat", str(file), *ON, "-n", "6") as terminal:
        terminal.wait_for("/help for commands, Ctrl-D to leave")
        terminal.wait_for("> ")
        yield terminal


def test_it_answers_and_leaves_with_ctrl_d(chat: Terminal) -> None:
    assert len(chat.ask("hello").splitlines()) >= 3
    chat.type(CTRL_D)
    assert chat.code() == 0


def test_exit_leaves(chat: Terminal) -> None:
    chat.type("/exit\n")
    assert chat.code() == 0


def test_help_names_every_command(chat: Terminal) -> None:
    shown = chat.ask("/help")
    for name in ("help", "clear", "system", "set", "unset", "retry", "undo", "save", "load", "stats", "exit"):
        assert f"/{name}" in shown


def test_an_unknown_command_is_answered_with_those_there_are(chat: Terminal) -> None:
    assert "error: command: got '/frobnicate', want one of /help" in chat.ask("/frobnicate")


def test_commands_without_anything_to_work_on_say_so(chat: Terminal, tmp_path: Path) -> None:
    for line in ("/retry", "/undo", "/stats", "/unset seed", "/set seed", f"/load {tmp_path}/none", "/save /no/where"):
        shown = chat.ask(line)
        assert "error: " in shown, line
        assert "want" in shown


def test_options_are_checked_where_they_are_set(chat: Terminal) -> None:
    assert "Did you mean 'temperature'?" in chat.ask("/set temprature=1")
    assert "want a number of at least 0" in chat.ask("/set temperature=hot")
    chat.ask("/set max_tokens=1")
    chat.ask("hello")
    assert "answer 1 at" in chat.ask("/stats")
    chat.ask("/unset max_tokens")


def test_a_conversation_is_saved_undone_and_read_again(chat: Terminal, tmp_path: Path) -> None:
    path = tmp_path / "talk.json"
    chat.ask("/system Be brief.")
    chat.ask("one")
    chat.ask("two")
    assert "took back 'two'" in chat.ask("/undo")
    assert "wrote 3 messages" in chat.ask(f"/save {path}")
    saved = json.loads(path.read_text())
    assert [m["role"] for m in saved] == ["system", "user", "assistant"]
    assert [m["content"] for m in saved[:2]] == ["Be brief.", "one"]
    chat.ask("/clear")
    assert "read 3 messages" in chat.ask(f"/load {path}")
    chat.ask("/retry")
    chat.ask(f"/save {path}")
    assert json.loads(path.read_text()) == saved, "a greedy answer is the same again"


def test_lines_are_joined_by_a_backslash_and_between_triple_quotes(chat: Terminal, tmp_path: Path) -> None:
    path = tmp_path / "talk.json"
    chat.type("first\\\n")
    chat.wait_for(r"\.\.\. ")
    chat.ask("second")
    chat.type('"""\n')
    chat.wait_for(r"\.\.\. ")
    chat.type("/not a command\n")
    chat.wait_for(r"\.\.\. ")
    chat.ask('end"""')
    chat.ask('"""one line"""')
    chat.ask(f"/save {path}")
    said = [m["content"] for m in json.loads(path.read_text()) if m["role"] == "user"]
    assert said == ["first\nsecond", "/not a command\nend", "one line"]


def test_ctrl_c_at_the_prompt_does_not_leave(chat: Terminal) -> None:
    chat.type("half a mess")
    chat.wait_for("half a mess")  # readline is up
    chat.type(CTRL_C)
    chat.wait_for(r"\n> ")
    assert chat.ask("hello")


def test_ctrl_c_stops_the_answer_and_not_the_program(file: Path) -> None:
    with Terminal("chat", str(file), *ON) as chat:
        chat.wait_for("> ")
        chat.type("hello\n")
        chat.wait_for(r"hello\n(.|\n){6}")  # some of the answer, which would be hundreds of tokens long
        chat.type(CTRL_C)
        chat.wait_for(r"\[stopped\]")
        chat.wait_for("> ")
        chat.ask("/set max_tokens=2")
        chat.ask("again")
        assert "answer 2 at" in chat.ask("/stats")
        chat.type(CTRL_D)
        assert chat.code() == 0


def test_a_message_that_fails_is_taken_back(file: Path, tmp_path: Path) -> None:
    path = tmp_path / "talk.json"
    with Terminal("chat", str(file), *ON, "-n", "2", "-c", "64") as chat:
        chat.wait_for("> ")
        assert "fewer than the context's 64" in chat.ask("word " * 60)
        assert "error" not in chat.ask("hi")
        chat.ask(f"/save {path}")
    assert [m["content"] for m in json.loads(path.read_text()) if m["role"] == "user"] == ["hi"]


def test_a_file_that_holds_no_conversation_is_refused(chat: Terminal, tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    for text in ("", "{}", "[1]", '[{"role": 1}]', '[{"role": "user"}]'):
        path.write_text(text)
        assert "want what /save wrote" in chat.ask(f"/load {path}"), text


def test_with_json_each_answer_is_a_line(file: Path) -> None:
    done = halflap("chat", file, *ON, "-n", "3", "--json", stdin="one\n/nope\ntwo\n")
    answers = [json.loads(line) for line in done.out.splitlines()]
    assert [next(iter(a)) for a in answers] == ["text", "error", "text"]
    assert answers[2]["usage"]["completion_tokens"] == 3


def test_words_go_to_stdout_and_everything_else_to_stderr(file: Path) -> None:
    done = halflap("chat", file, *ON, "-n", "3", stdin="one\n/stats\n")
    assert "tokens at" in done.err
    assert "tokens at" not in done.out
    assert ">" not in done.err
