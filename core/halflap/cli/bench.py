"""halflap bench: prefill and decode speed, with llama-bench's options, columns and JSON keys."""

from __future__ import annotations

import statistics
import time
from typing import Any

import click
from rich.table import Table

from halflap import placement
from halflap.cli import common
from halflap.cli.progress import Waiting
from halflap.cli.run import open_model
from halflap.device.opening import open_devices
from halflap.model import Model
from halflap.placement import Plan


@click.command("bench")
@click.option("-m", "--model", default="starter", show_default=True, help="Name or path of a model.")
@click.option("-p", "--n-prompt", default="512", show_default=True, help="Prompt lengths, such as 128,512; 0: none.")
@click.option("-n", "--n-gen", default="128", show_default=True, help="Tokens to generate, such as 64,128; 0: none.")
@click.option("-t", "--threads", type=click.IntRange(1, 1024), help="CPU threads.")
@click.option("-r", "--repetitions", type=click.IntRange(1, 1000), default=5, show_default=True)
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.option("--devices", help="Devices in order.")
@common.as_json
def command(
    model: str,
    n_prompt: str,
    n_gen: str,
    threads: int | None,
    repetitions: int,
    output: str,
    devices: str | None,
    as_json: bool,
) -> None:
    """Measure speed."""
    prompts, gens = (_counts(f"--n-{name}", text) for name, text in (("prompt", n_prompt), ("gen", n_gen)))
    tests = [(n, 0) for n in prompts if n] + [(0, n) for n in gens if n]
    ctx = max([*prompts, *gens, 1]) + 32
    if not tests:
        raise click.UsageError("--n-prompt and --n-gen: got 0 for both, want something to measure")
    wishes = {**dict.fromkeys((*common.PLACEMENT, "plan")), "pin": ()}
    with (
        open_model(model, {**wishes, "devices": devices, "threads": threads, "ctx": ctx}) as loaded,
        Waiting("bench", total=len(tests) * (repetitions + 1)) as waiting,
    ):
        used, results = _threads(loaded.plan), []
        for prompt, gen in tests:
            seconds = []
            for round_ in range(repetitions + 1):
                took = _prefill(loaded, prompt) if prompt else _decode(loaded, gen)
                if round_:  # the first one warms up
                    seconds.append(took)
                waiting.advance()
            results.append(_result(loaded, used, prompt, gen, seconds))
    if output == "json" or as_json:
        common.print_json(results)
    else:
        _show(results)


def _counts(option: str, text: str) -> list[int]:
    return list(placement.parse_integers(option, text)) if text != "0" else []


def _threads(plan: Plan) -> int | None:
    """Threads that compute, the engine's own included, where a device of the plan counts them."""
    opened = open_devices(plan.devices, {"threads": str(plan.threads)} if plan.threads else {})
    try:
        return max((device.probe().threads + 1 for device in opened if hasattr(device, "probe")), default=plan.threads)
    finally:
        for device in opened:
            device.close()


def _ids(model: Model, count: int) -> list[int]:
    return [(i * 7919 + 13) % model.info.vocab for i in range(count)]


def _prefill(model: Model, count: int) -> float:
    start = time.perf_counter()
    model.generate(_ids(model, count), max_tokens=0)
    return time.perf_counter() - start


def _decode(model: Model, count: int) -> float:
    done = model.generate(_ids(model, 1), max_tokens=count + 1, temperature=0.0, ignore_eos=True)
    return done.timings.predicted_ms / 1e3


def _result(model: Model, threads: int | None, prompt: int, gen: int, seconds: list[float]) -> dict[str, Any]:
    tokens = prompt or gen
    speeds = [tokens / s for s in seconds]
    return {
        "model_filename": model.info.path,
        "model_type": f"{model.info.architecture} {model.info.name}",
        "model_size": model.info.file_bytes,
        "model_n_params": model.info.parameters,
        "backends": ",".join(model.plan.devices),
        "n_threads": threads,
        "type_k": model.plan.kv_type[0],
        "type_v": model.plan.kv_type[1],
        "n_prompt": prompt,
        "n_gen": gen,
        "avg_ns": int(1e9 * statistics.mean(seconds)),
        "stddev_ns": int(1e9 * statistics.stdev(seconds)) if len(seconds) > 1 else 0,
        "avg_ts": statistics.mean(speeds),
        "stddev_ts": statistics.stdev(speeds) if len(speeds) > 1 else 0.0,
        "samples_ns": [int(1e9 * s) for s in seconds],
        "samples_ts": speeds,
    }


def _show(results: list[dict[str, Any]]) -> None:
    table = Table(box=None, pad_edge=False)
    for column in ("model", "size", "params", "backend", "threads", "test", "t/s"):
        table.add_column(column, justify="right" if column in ("size", "params", "t/s") else "left")
    for r in results:
        test = f"pp{r['n_prompt']}" if r["n_prompt"] else f"tg{r['n_gen']}"
        table.add_row(
            r["model_type"],
            common.size(r["model_size"]),
            f"{r['model_n_params'] / 1e6:.2f} M",
            r["backends"],
            str(r["n_threads"] or "-"),
            test,
            f"{r['avg_ts']:.2f} ± {r['stddev_ts']:.2f}",
        )
    common.out().print(table)
