"""What a JSON schema says of one argument, for notations in which a value's type decides how it is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

TYPES: Final = ("string", "null", "boolean", "integer", "number", "object", "array")
DEPTH: Final = 20
"""Of references and alternatives within each other."""

Schema = Mapping[str, Any]


def branches(schema: Any, root: Any, depth: int = DEPTH) -> list[dict[str, Any]]:
    """A schema as alternatives of one type each; one without a type is alternatives of all.

    Args:
        root: the whole schema, to which its references are relative.
    """
    if not isinstance(schema, Mapping) or depth == 0:
        return [{"type": kind} for kind in TYPES if kind != "integer"]
    schema = dict(schema)
    if isinstance(schema.get("$ref"), str):
        found = _referred(schema.pop("$ref"), root)
        return branches({**found, **schema} if isinstance(found, Mapping) else schema, root, depth - 1)
    for name in ("anyOf", "oneOf", "allOf"):
        inner = schema.get(name)
        if _are_schemas(inner) and (name != "allOf" or len(inner) == 1):
            del schema[name]
            return [one for other in inner for one in branches({**schema, **_open(other, root)}, root, depth - 1)]
    if "const" in schema:
        schema["enum"] = [schema.pop("const")]
    kinds = schema.get("type")
    if isinstance(kinds, str):
        kinds = [kinds]
    values = schema.get("enum")
    if isinstance(values, Sequence) and not isinstance(values, str):
        return list(_of_values(schema, values, kinds))
    if not isinstance(kinds, Sequence) or not kinds:
        kinds = [kind for kind in TYPES if kind != "integer"]
    return [{**schema, "type": kind} for kind in kinds if kind in TYPES]


def _are_schemas(value: Any) -> bool:
    return isinstance(value, Sequence) and bool(value) and all(isinstance(each, Mapping) for each in value)


def _open(schema: Schema, root: Any) -> Schema:
    """An alternative, which may be a reference: the keywords beside it go on to what it stands for."""
    found = _referred(schema["$ref"], root) if isinstance(schema.get("$ref"), str) else None
    return {**found, **{key: value for key, value in schema.items() if key != "$ref"}} if found else schema


def _of_values(schema: Schema, values: Sequence[Any], kinds: Sequence[str] | None) -> Iterator[dict[str, Any]]:
    for kind in TYPES:
        if kinds and kind not in kinds and not (kind == "integer" and "number" in kinds):
            continue
        mine = [value for value in values if type_of(value) == kind]
        if mine:
            yield {**schema, "type": kind, "enum": mine}


def type_of(value: Any) -> str:
    """The type of a JSON value; a number without a fraction is an integer."""
    if isinstance(value, float):
        return "integer" if value.is_integer() else "number"
    names = {str: "string", type(None): "null", bool: "boolean", int: "integer"}
    return names.get(type(value)) or ("object" if isinstance(value, Mapping) else "array")


def types(schema: Any, root: Any) -> set[str]:
    """Types that a schema allows."""
    return {branch["type"] for branch in branches(schema, root)}


def _referred(reference: str, root: Any) -> Schema | None:
    """What a reference within the schema names; None: nothing."""
    if not reference.startswith("#"):
        return None
    found = root
    for part in filter(None, reference[1:].split("/")):
        part = part.replace("~1", "/").replace("~0", "~")
        found = found.get(part) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else None


def arguments(schema: Any) -> dict[str, tuple[Any, bool]]:
    """Names of a call's arguments: (schema, whether it must be there), in the order of the schema."""
    branch = next((each for each in branches(schema, schema) if each["type"] == "object"), {})
    given, required = branch.get("properties"), branch.get("required")
    names: dict[str, Any] = dict(given) if isinstance(given, Mapping) else {}
    wanted = [name for name in required if isinstance(name, str)] if isinstance(required, Sequence) else []
    rest = branch.get("additionalProperties", True)
    return {
        name: (names.get(name, rest), name in wanted)
        for name in (*names, *(name for name in wanted if name not in names))
    }


def further(schema: Any) -> Any:
    """What arguments beyond those named may be; False: there may be none. Where some are named, they are all."""
    branch = next((each for each in branches(schema, schema) if each["type"] == "object"), {})
    return False if branch.get("properties") else branch.get("additionalProperties", True)
