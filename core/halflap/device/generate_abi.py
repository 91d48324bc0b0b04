"""Make `_abi.py` from `include/halflap/abi.h`: python -m halflap.device.generate_abi (it alone needs pycparser)."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import halflap

HEADER = Path(halflap.get_include()) / "halflap" / "abi.h"
TARGET = Path(__file__).with_name("_abi.py")


def declarations(header: str) -> str:
    """The header without comments and preprocessor lines: what cffi's cdef takes."""
    text = re.sub(r"/\*.*?\*/", "", header, flags=re.S)
    text = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    return text.replace('extern "C" {', "").rstrip().removesuffix("}").strip() + "\n"


def generate() -> str:
    """Source of `_abi.py`."""
    from cffi import FFI

    ffi = FFI()
    ffi.set_source("halflap.device._abi", None)
    ffi.cdef(declarations(HEADER.read_text()))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "_abi.py"
        ffi.emit_python_code(str(path))
        return path.read_text()


if __name__ == "__main__":
    TARGET.write_text(generate())
