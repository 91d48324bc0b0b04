"""Short templates of well-known formats, for files that carry none: `chat_template="llama3"`."""

from __future__ import annotations

import difflib
from typing import Final

from halflap.errors import InvalidRequestError


def _turns(each: str, begin: str) -> str:
    """A template that writes each message alike, and then what begins the answer; `content` is a message's text."""
    loop = "{%- for m in messages -%}{%- set content = m['content'] | trim -%}"
    return f"{loop}{each}{{%- endfor -%}}{{%- if add_generation_prompt -%}}{begin}{{%- endif -%}}"


def _by_role(system: str, user: str, assistant: str) -> str:
    """One text for each role; a role that has none goes before what the user says, as in every template."""
    return (
        f"{{%- if m['role'] == 'system' -%}}{system}{{%- elif m['role'] == 'assistant' -%}}{assistant}"
        f"{{%- else -%}}{user}{{%- endif -%}}"
    )


CHATML: Final = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""For files that carry no template."""

_C: Final = "{{ content }}"
_NL: Final = "{{ '\\n' }}"

_BOS: Final = "{{ bos_token }}"
_EOS: Final = "{{ eos_token }}"
_SP: Final = "{{ ' ' }}"

NAMED: Final = {
    "chatml": CHATML,
    "llama2": _turns(_by_role("", f"{_BOS}[INST] {_C} [/INST]", f"{_SP}{_C}{_SP}{_EOS}"), ""),
    "llama3": _BOS
    + _turns(
        f"<|start_header_id|>{{{{ m['role'] }}}}<|end_header_id|>{_NL}{_NL}{_C}<|eot_id|>",
        f"<|start_header_id|>assistant<|end_header_id|>{_NL}{_NL}",
    ),
    "mistral": _BOS + _turns(_by_role("", f"[INST] {_C}[/INST]", f"{_SP}{_C}{_EOS}"), ""),
    "gemma": _BOS
    + _turns(
        _by_role(
            "",
            f"<start_of_turn>user{_NL}{_C}<end_of_turn>{_NL}",
            f"<start_of_turn>model{_NL}{_C}<end_of_turn>{_NL}",
        ),
        f"<start_of_turn>model{_NL}",
    ),
    "phi3": _turns(f"<|{{{{ m['role'] }}}}|>{_NL}{_C}<|end|>{_NL}", f"<|assistant|>{_NL}"),
    "deepseek": _BOS
    + _turns(_by_role(_C, f"<｜User｜>{_C}", f"<｜Assistant｜>{_C}<｜end▁of▁sentence｜>"), "<｜Assistant｜>"),
    "vicuna": _BOS
    + _turns(_by_role(f"{_C}{_NL}{_NL}", f"USER: {_C}{_NL}", f"ASSISTANT: {_C}{_EOS}{_NL}"), "ASSISTANT:"),
    "zephyr": _turns(f"<|{{{{ m['role'] }}}}|>{_NL}{_C}{_EOS}{_NL}", f"<|assistant|>{_NL}"),
    "alpaca": _turns(
        _by_role(
            f"{_C}{_NL}{_NL}",
            f"### Instruction:{_NL}{_C}{_NL}{_NL}",
            f"### Response:{_NL}{_C}{_EOS}{_NL}{_NL}",
        ),
        f"### Response:{_NL}",
    ),
    "command-r": _BOS
    + _turns(
        "<|START_OF_TURN_TOKEN|>"
        + _by_role("<|SYSTEM_TOKEN|>", "<|USER_TOKEN|>", "<|CHATBOT_TOKEN|>")
        + f"{_C}<|END_OF_TURN_TOKEN|>",
        "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>",
    ),
}
"""Name -> Jinja text."""


def check(source: str | None) -> None:
    """Raises InvalidRequestError if this is neither a template nor the name of one."""
    if source is None or source in NAMED or "{%" in source or "{{" in source:
        return
    close = difflib.get_close_matches(source, NAMED, 1)
    raise InvalidRequestError(
        "chat_template",
        got=f"{source!r:.80}",
        want=f"Jinja text, or one of {', '.join(NAMED)}",
        fix=f"Did you mean {close[0]!r}?" if close else None,
        field="chat_template",
    )
