"""A family's way of writing, as data: how it thinks, and where its calls begin, how one is read, where they end."""

from __future__ import annotations

from typing import Final

from attrs import frozen

from halflap.text.chat.calls import CallReader
from halflap.text.chat.notations import AS_JSON, Arguments

THINK: Final = ("<think>", "</think>")


@frozen
class Section:
    """A place for calls.

    Attributes:
        open: text with which it begins; "": the answer itself may begin with a call, if tools were given.
        reader: reads a call.
        close: text with which it ends; "": with the call.
        begins: characters with which a call may begin, where open is "".
    """

    open: str
    reader: CallReader
    close: str = ""
    begins: str = ""


@frozen
class Written:
    """How calls are written, for those who must write them: constraints, and templates that leave them out.

    Attributes:
        open: before the first call.
        before: a call up to its name.
        between: from its name to the arguments; {index} stands for a number.
        after: behind them.
        join: between two calls; None: each has its own opening and closing.
        close: behind the last.
        bare: nothing marks a call but its place.
        arguments: how they are written.
        trigger: the part of the opening that tells it from words, wherever it stands; "": all of it.
    """

    open: str
    before: str
    between: str
    after: str
    join: str | None = None
    close: str = ""
    bare: bool = False
    arguments: Arguments = AS_JSON
    trigger: str = ""


@frozen
class Dialect:
    """How one family of models writes answers.

    Attributes:
        about: its models.
        marks: texts in chat templates that tell it.
        think: pairs of texts that open and close a thought.
        sections: where calls stand.
        layout: tags that say nothing about the words between them.
        prompted: the end of the prompt that is the answer's beginning.
        calls_end_thoughts: a call may begin inside a thought, and ends it.
        written: how calls are written, if they can be held.
        also: other ways, which are held where a model takes them.
        tags: further texts that may be special tokens and must be seen.
    """

    about: str
    marks: tuple[str, ...]
    think: tuple[tuple[str, str], ...] = (THINK,)
    sections: tuple[Section, ...] = ()
    layout: tuple[str, ...] = ()
    prompted: str = ""
    calls_end_thoughts: bool = False
    written: Written | None = None
    also: tuple[Written, ...] = ()
    tags: tuple[str, ...] = ()

    @property
    def all_tags(self) -> tuple[str, ...]:
        """Every text that the parser must see if it is a special token."""
        found = [tag for pair in self.think for tag in pair] + [*self.layout, *self.tags]
        for section in self.sections:
            found += [section.open, section.close, *section.reader.tags]
        return tuple(dict.fromkeys(filter(None, found)))
