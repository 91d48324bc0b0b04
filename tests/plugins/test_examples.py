"""The example plugins that the docs quote: installed as packages, found by their entry points, used by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import halflap
from halflap import plugins
from halflap.errors import InvalidRequestError
from halflap.events import Reasoning, Text
from halflap.sampling.chain import SamplerChain, Use
from halflap.text.chat.detection import detect
from halflap.text.chat.template import ChatTemplate

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", ["example-sampler", "example-chat-format"])
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
