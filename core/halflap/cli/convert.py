"""halflap convert: a model as a GGUF file."""

from __future__ import annotations

import time
from pathlib import Path

import click

from halflap import loading
from halflap.cli import common
from halflap.cli.progress import Waiting
from halflap.errors import InvalidRequestError
from halflap.text.huggingface import as_ggml
from halflap.weights.convert import TYPES, write


@click.command("convert")
@click.argument("model")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="File to write.")
@click.option("--type", "kind", type=click.Choice(TYPES), help="Type of the matrices; default: as they are stored.")
@click.option("--force", is_flag=True, help="Replace the file if it is there.")
@common.as_json
def command(model: str, output: Path, kind: str | None, force: bool, as_json: bool) -> int:
    """Write MODEL, a folder with config.json and safetensors or a GGUF file, as one GGUF file."""
    if output.exists() and not force:
        raise InvalidRequestError(
            "--output", got=f"{str(output)!r}, which is there", want="a new file", fix="Or add --force.", field="output"
        )
    began = time.monotonic()
    with loading.open_model(model) as file:
        total = sum(info.nbytes for info in file.tensors.values())
        with Waiting(f"writing {output.name}", total) as waiting:
            done = write(file, output, as_ggml(file.metadata), kind, waiting.update)
        facts = {
            "path": str(output), "bytes": done, "tensors": len(file.tensors), "architecture": file.architecture,
            "seconds": round(time.monotonic() - began, 3),
        }  # fmt: skip
    if as_json:
        common.print_json(facts)
    else:
        common.out().print(f"{output}: {len(file.tensors)} tensors, {common.size(done)}", markup=False)
    return 0
