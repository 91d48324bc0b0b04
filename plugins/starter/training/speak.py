"""Greedy answers straight from a torch checkpoint: a first measurement, before or beside the runtime.

Usage: python speak.py TOKENIZER.json CHECKPOINT.pt [--kinds arithmetic memory …] [--count 200] [--json OUT.json]
       python speak.py TOKENIZER.json CHECKPOINT.pt --ask "Tell me a story about a fox"
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

import torch
from check import Reply, report, score_all
from documents import Document
from model import Config, Starter
from template import Template
from tokenizers import Tokenizer

_CALL = re.compile(r"<tool_call>\n(.*?)\n</tool_call>", re.DOTALL)


class Speaker:
    """A checkpoint that answers many documents at once."""

    def __init__(self, tokenizer: Path, checkpoint: Path) -> None:
        self.tokenizer = Tokenizer.from_file(str(tokenizer))
        self.model = Starter(Config()).eval()
        self.model.load_state_dict(torch.load(checkpoint, weights_only=True)["model"])
        self._render = Template()
        self._stop = self.tokenizer.token_to_id("<|im_end|>")

    @torch.inference_mode()
    def complete(self, prompts: list[list[int]], max_tokens: int) -> list[list[int]]:
        """Greedy continuations. Prompts are padded on the left: rotary position is relative, so nothing changes."""
        width = max(map(len, prompts))
        ids = torch.tensor([[0] * (width - len(p)) + p for p in prompts])
        padded = torch.tensor([[True] * (width - len(p)) + [False] * len(p) for p in prompts])
        hidden = padded[:, None, :] | torch.ones(width, width, dtype=torch.bool).triu(1)
        hidden &= ~torch.eye(width, dtype=torch.bool)  # padding sees itself, or its softmax would be NaN
        mask = torch.zeros(hidden.shape).masked_fill(hidden, float("-inf"))[:, None]
        past: list[list[torch.Tensor]] = [[] for _ in self.model.blocks]
        out: list[list[int]] = [[] for _ in prompts]
        going = torch.ones(len(prompts), dtype=torch.bool)
        for _ in range(max_tokens):
            token = self.model(ids, mask, past)[:, -1].argmax(-1)
            going &= token != self._stop
            for row in going.nonzero().flatten().tolist():
                out[row].append(int(token[row]))
            if not going.any():
                break
            ids = token[:, None]
            mask = torch.nn.functional.pad(mask[:, :, -1:], (0, 1))
        return out

    def replies(self, documents: list[Document], max_tokens: int = 300) -> list[Reply]:
        """The answers to the documents' prompts, taken apart as a chat format would."""
        prompts = [self.tokenizer.encode(self._render(d, prompt_only=True)).ids for d in documents]
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        answers: dict[int, str] = {}
        for at in range(0, len(order), 50):
            part = order[at : at + 50]
            done = self.complete([prompts[i] for i in part], max_tokens)
            answers |= {
                i: self.tokenizer.decode(ids, skip_special_tokens=False) for i, ids in zip(part, done, strict=True)
            }
        return [parse(answers[i], d.thinking) for i, d in enumerate(documents)]


def parse(text: str, thinking: bool) -> Reply:
    """Thoughts, calls and text of an answer; with thinking, the prompt has opened the thoughts already."""
    reasoning, _, rest = text.partition("</think>") if thinking else ("", "", text)
    calls = []
    for source in _CALL.findall(rest):
        try:
            call = json.loads(source)
            calls.append((str(call["name"]), json.dumps(call["arguments"])))
        except (ValueError, TypeError, KeyError):
            continue
    return Reply(_CALL.sub("", rest).strip(), reasoning.strip(), calls)


def main() -> None:
    """Print the table of scores, or one answer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tokenizer", type=Path)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--kinds", nargs="*")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--show", type=int, default=3, help="how many failures of each kind to print")
    parser.add_argument("--ask", nargs="*", help="questions to answer instead of scoring")
    args = parser.parse_args()
    torch.set_num_threads(1)
    speaker = Speaker(args.tokenizer, args.checkpoint)
    if args.ask:
        asked = [Document("", [{"role": "user", "content": question}, {}]) for question in args.ask]
        for question, reply in zip(args.ask, speaker.replies(asked), strict=True):
            print(f"> {question}\n{reply.text or reply.calls}\n")
        return
    report(score_all(speaker.replies, args.kinds, args.count), args.json, args.show)


if __name__ == "__main__":
    main()
