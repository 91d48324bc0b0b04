"""abi.h, what cffi makes of it, and what a compiler makes of it are one thing."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from halflap.device import generate_abi
from halflap.device._abi import ffi
from halflap.device.native import ABI_MAJOR, ABI_MINOR, STATUS

HEADER = generate_abi.HEADER.read_text()
STRUCTS = re.findall(r"^typedef struct (\w+) \{(.*?)^\} \1;", HEADER, re.M | re.S)
DOCS = Path(__file__).resolve().parents[3] / "docs" / "abi.md"


def compiler() -> str:
    found = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if found is None:
        pytest.skip("no C compiler")
    return found


def test_the_generated_module_is_that_of_the_header() -> None:
    pytest.importorskip("pycparser")
    made, kept = (ast.dump(ast.parse(text)) for text in (generate_abi.generate(), generate_abi.TARGET.read_text()))
    assert made == kept, "run python -m halflap.device.generate_abi"


def test_sizes_and_offsets_agree_with_a_compiler(tmp_path: Path) -> None:
    asserts = []
    for name, _ in STRUCTS:
        kind = ffi.typeof(name)
        asserts.append(f'_Static_assert(sizeof({name}) == {ffi.sizeof(kind)}, "{name}");')
        for field, detail in kind.fields or ():
            asserts.append(f'_Static_assert(offsetof({name}, {field}) == {detail.offset}, "{name}.{field}");')
    source = tmp_path / "sizes.c"
    source.write_text("#include <stddef.h>\n#include <halflap/abi.h>\n" + "\n".join(asserts))
    include = str(generate_abi.HEADER.parents[1])
    command = [compiler(), "-std=c11", "-Wall", "-Werror", "-fsyntax-only", "-I", include, str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(asserts) > 100


def test_every_struct_but_the_string_begins_with_its_size() -> None:
    assert len(STRUCTS) > 20
    for name, body in STRUCTS:
        first = re.sub(r"/\*.*?\*/", "", body, flags=re.S).split()[:2]
        assert first == ["int64_t", "struct_size;"] or name == "hl_str", name


def test_versions_and_states_are_those_of_the_header() -> None:
    assert f"#define HALFLAP_ABI_MAJOR {ABI_MAJOR}\n" in HEADER
    assert f"#define HALFLAP_ABI_MINOR {ABI_MINOR}\n" in HEADER
    named = {
        int(number): name.lower() for name, number in re.findall(r"HL_([A-Z_]+) = (\d+)", HEADER.split("hl_error")[0])
    }
    assert [named[i] for i in range(len(named))] == list(STATUS)


def test_the_page_names_every_struct_function_and_the_version() -> None:
    text = DOCS.read_text()
    functions = re.findall(r"\(\*(\w+)\)\(", dict(STRUCTS)["hl_backend_api"])
    assert len(functions) >= 20
    for name in [*dict(STRUCTS), *functions, "halflap_backend"]:
        assert f"`{name}`" in text, name
    assert f"### {ABI_MAJOR}.{ABI_MINOR}" in text
