"""The held-out scores by kind, through the runtime itself.

Usage: python check.py [MODEL.gguf] [--kinds arithmetic memory …] [--count 200] [--json OUT.json] [--show 3]

A prompt counts as answered when the answer is exactly the expected one (greedy): the text for talk, the object for
JSON, name and arguments for a tool call. A story counts when it has two paragraphs, names its hero in both, ends in
the hero's or a friend's sentence, and stops by itself. Two honest sentences mean the same, so either is right.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from documents import Document
from talk import OUTSIDE
from world import CHECKED, LONG, held_out


@dataclass
class Reply:
    """What came back: the text, the thoughts, and the calls as (name, arguments in JSON)."""

    text: str
    reasoning: str = ""
    calls: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class Score:
    """How many prompts of a kind were answered right, and some that were not."""

    kind: str
    right: int
    count: int
    failures: list[dict[str, Any]]


Replies = Callable[[list[Document]], list[Reply]]


def _loads(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _story(hero: str, text: str) -> bool:
    parts = text.split("\n\n")
    # Asked by name only, the hero may go on as "the fox".
    kept = hero in text if hero[:1].isupper() else all(hero in part for part in parts)
    return len(parts) == 2 and kept and text[-1] in '."'


def right(document: Document, reply: Reply) -> bool:
    """Whether the reply is the expected one."""
    wanted = document.messages[-1]
    calls = [(c["function"]["name"], _loads(c["function"]["arguments"])) for c in wanted.get("tool_calls", [])]
    if calls or reply.calls:
        return calls == [(name, _loads(arguments)) for name, arguments in reply.calls]
    if document.kind == "stories":
        return _story(document.hero, reply.text)
    if document.kind == "json":
        # Pairs, so that the order of the keys counts too.
        pairs = [json.loads(wanted["content"], object_pairs_hook=list), None]
        try:
            pairs[1] = json.loads(reply.text, object_pairs_hook=list)
        except ValueError:
            return False
        return pairs[0] == pairs[1]
    if wanted["content"] in OUTSIDE:
        return reply.text in OUTSIDE
    return reply.text == wanted["content"]


def score_all(replies: Replies, kinds: list[str] | None = None, count: int = 200) -> list[Score]:
    """Scores of each kind; arithmetic and tools also in their parts."""
    scores = []
    for kind in kinds or CHECKED:
        documents = held_out(kind, count)
        answers = replies(documents)
        marks = [right(d, a) for d, a in zip(documents, answers, strict=True)]
        failures = [
            {"asked": d.messages[-2]["content"], "wanted": d.messages[-1], "thinking": d.thinking, "got": asdict(a)}
            for d, a, ok in zip(documents, answers, marks, strict=True)
            if not ok
        ]
        scores.append(Score(kind, sum(marks), len(marks), failures))
        for part, chosen in _parts(documents).items():
            hits = [marks[i] for i in chosen]
            scores.append(Score(f"  {part}", sum(hits), len(hits), []))
    return scores


def _parts(documents: list[Document]) -> dict[str, list[int]]:
    """The kinds that hide different skills, taken apart."""

    def where(test: Callable[[Document], bool]) -> list[int]:
        return [i for i, d in enumerate(documents) if test(d)]

    kind = documents[0].kind
    if kind == "arithmetic":
        return {
            "sums": where(lambda d: " × " not in d.messages[-1]["content"] and not d.thinking),
            "sums, thinking": where(lambda d: " × " not in d.messages[-1]["content"] and d.thinking),
            "tables": where(lambda d: " × " in d.messages[-1]["content"]),
        }
    if kind == "memory":
        return {"direct": where(lambda d: not d.thinking), "thinking": where(lambda d: d.thinking)}
    if kind == "long memory":
        turns = [sum(m["role"] == "user" for m in d.messages) for d in documents]
        return {f"{n} turns": [i for i, t in enumerate(turns) if t == n] for n in LONG}
    if kind in ("tools", "invented tools", "tools of strangers", "several calls"):
        return {
            "call": where(lambda d: bool(d.messages[-1].get("tool_calls"))),
            "result used": where(lambda d: d.messages[-2]["role"] == "tool"),
            "no call needed": where(
                lambda d: d.messages[-2]["role"] == "user" and not d.messages[-1].get("tool_calls")
            ),
        }
    return {}


def report(scores: list[Score], out: Path | None = None, show: int = 0) -> None:
    """Print the table and some failures; write the whole as JSON where asked."""
    for s in scores:
        print(f"{s.kind:20} {s.right:4} / {s.count:<4} {s.right / max(s.count, 1):7.1%}", flush=True)
    for s in scores:
        for failure in s.failures[:show]:
            print(f"\n{s.kind}: {json.dumps(failure, ensure_ascii=False)}")
    if out:
        out.write_text(json.dumps([asdict(s) for s in scores], indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def runtime(path: Path) -> Replies:
    """Answers by Halflap itself."""
    import halflap

    model = halflap.load(path)

    def replies(documents: list[Document]) -> list[Reply]:
        answers = []
        for d in documents:
            done = model.chat(d.messages[:-1], tools=d.tools, temperature=0, max_tokens=300, enable_thinking=d.thinking)
            calls = [(c.name, c.arguments) for c in done.tool_calls or []]
            answers.append(Reply((done.text or "").strip(), (done.reasoning or "").strip(), calls))
        return answers

    return replies


def main() -> None:
    """Print the table of scores of the bundled model, or of another file."""
    bundled = Path(__file__).parents[1] / "halflap_starter" / "starter-q8_0.gguf"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?", default=bundled)
    parser.add_argument("--kinds", nargs="*", choices=CHECKED)
    parser.add_argument("--count", type=int, default=200, help="prompts of each kind")
    parser.add_argument("--json", type=Path, help="write the scores and every failure here")
    parser.add_argument("--show", type=int, default=0, help="how many failures of each kind to print")
    args = parser.parse_args()
    report(score_all(runtime(args.model), args.kinds, args.count), args.json, args.show)


if __name__ == "__main__":
    main()
