"""How the arguments of a call are written, for grammars that hold calls to the tools' schemas.

Layout is white space that may be left out: a line break of these texts, unless it parts a string from its tags.
"""

from __future__ import annotations

from typing import TypeAlias

from attrs import frozen


@frozen
class AsJson:
    """One JSON object."""


@frozen
class AsTags:
    """Each argument by itself; a string as it is, all else as JSON.

    Attributes:
        before: before an argument's name.
        key_end: between the name and a string.
        value_end: behind a value; {key} stands for the name.
        typed_key_end: between the name and what is no string, where that differs; then strings are told by it.
        cdata: a string may stand in `<![CDATA[…]]>`.
    """

    before: str
    key_end: str
    value_end: str
    typed_key_end: str = ""
    cdata: bool = False


@frozen
class AsKeywords:
    """`name=value, …`, with values as in JSON; Python's True, False and None do too."""


@frozen
class AsGemma:
    """`{name:value,…}` in order of the names, strings between `<|"|>`, objects and lists likewise."""


Arguments: TypeAlias = AsJson | AsTags | AsKeywords | AsGemma
AS_JSON = AsJson()
