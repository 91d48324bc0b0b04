#!/usr/bin/env python3
"""How near every weight type comes to the walls of this machine: a table and docs/roofline.svg.

    python tests/bench/roofline.py [--threads 2] [--types Q4_K,Q8_0] [--svg FILE] [--json]

Decode: one token through matrices too large for the caches (in huge pages, as numpy allocates), bytes read per second
against the fastest plain read of such pages.
Prefill: 256 tokens through one of them, multiply-adds per second (two operations each) against the rate of vpdpbusd.
With tiles (AMX) the second can pass 100 %. Walls are measured before and after; the better one counts.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))

from versus_llama_cpp import read_bandwidth

WIDTH, ROWS, MATRICES, TOKENS, ROUNDS = 4096, 8192, 16, 256, 5
UNMEASURED = ("I8", "I16", "I32", "I64", "F64")


def integer_wall(threads: int) -> float:
    """Operations per second of vpdpbusd, 0 where there is none."""
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "integer_wall"
        source = Path(__file__).with_name("integer_wall.c")
        subprocess.run(["cc", "-O3", "-march=native", "-pthread", str(source), "-o", str(program)], check=True)
        return float(subprocess.run([str(program), str(threads)], check=True, capture_output=True, text=True).stdout)


def measure(kind: str, threads: int) -> dict[str, float]:
    """Bytes per second of decode and operations per second of prefill for one weight type."""
    from halflap.device.interface import Weight
    from halflap.device.opening import open_devices
    from halflap.graph.builder import GraphBuilder
    from halflap.graph.step import Limits, Step
    from halflap.testing.drawing import draw_weight

    drawn = draw_weight("w0", kind, (ROWS, WIDTH), np.random.default_rng(0))
    weights = {f"w{i}": Weight(f"w{i}", kind, drawn.shape, drawn.data.copy()) for i in range(MATRICES)}
    (device,) = open_devices(["cpu"], {"threads": str(threads)})
    seconds = {}
    for tokens, used in ((1, MATRICES), (TOKENS, 1)):
        g = GraphBuilder("roofline", {name: (w.dtype, w.shape) for name, w in list(weights.items())[:used]})
        g.segment("all")
        x = g.input("x", "f32", "T", WIDTH)
        for i in range(used):
            g.output(g.linear(x, g.weight(f"w{i}")), f"y{i}")
        graph, limits = g.finish(), Limits(tokens, 1, 1, 0, {})
        packed, state = device.pack(weights, graph), device.state(graph.groups, limits)
        executable = device.compile(graph, packed, state, limits)
        index = np.arange(tokens, dtype=np.int32)
        step = Step(index, index, index[None], np.array([0, tokens], np.int32), np.array([], np.int32), {})
        inputs = {"x": np.random.default_rng(1).standard_normal((tokens, WIDTH)).astype(np.float32)}
        best = float("inf")
        for _ in range(ROUNDS + 1):
            began = time.perf_counter()
            executable.run(device.begin(step), inputs, []).wait()
            best = min(best, time.perf_counter() - began)
        seconds[tokens] = best
        for part in (executable, state, packed):
            part.close()
    device.close()
    return {
        "decode": MATRICES * drawn.data.nbytes / seconds[1],
        "prefill": 2 * WIDTH * ROWS * TOKENS / seconds[TOKENS],
    }


def draw(found: dict[str, Any]) -> str:
    """Two bars a type, as parts of the walls."""
    left, row, wide, most = 90, 30, 560, 1.0
    rows = found["types"]
    most = max(most, *(r["prefill_share"] for r in rows.values()), *(r["decode_share"] for r in rows.values()))
    height = 70 + row * len(rows)
    title = (
        f"decode: share of {found['bandwidth'] / 1e9:.1f} GB/s (blue); prefill: share of "
        f"{found['integer'] / 1e12:.2f} TOP/s of vpdpbusd (orange); {found['device']}"
    )
    box = f"0 0 {left + wide + 90} {height}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}" font-family="sans-serif" font-size="12">',
        "<style>text{fill:#444}@media(prefers-color-scheme:dark){text{fill:#ccc}}</style>",
        f'<text x="{left}" y="18">{title}</text>',
    ]
    wall = left + wide / most
    for i, (kind, r) in enumerate(rows.items()):
        y = 34 + row * i
        parts.append(f'<text x="{left - 8}" y="{y + 15}" text-anchor="end">{kind}</text>')
        for name, colour, at in (("decode", "#3b7dd8", 0), ("prefill", "#e08a2e", 11)):
            share = r[f"{name}_share"]
            length = share / most * wide
            parts.append(f'<rect x="{left}" y="{y + at}" width="{length:.1f}" height="10" fill="{colour}"/>')
            parts.append(f'<text x="{left + length + 5:.1f}" y="{y + at + 9}" font-size="10">{share:.0%}</text>')
    parts.append(f'<path d="M{wall:.1f} 28V{height - 30}" stroke="#888" stroke-dasharray="4 3"/>')
    parts.append(f'<text x="{wall:.1f}" y="{height - 14}" text-anchor="middle">the wall</text></svg>')
    return "\n".join(parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="weight types against the walls of this machine")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--types", default="")
    parser.add_argument("--svg", type=Path)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()

    from halflap.device.opening import open_devices

    (device,) = open_devices(["cpu"], {"threads": str(given.threads)})
    kinds, about = [kind for kind in device.info.rounding if kind not in UNMEASURED], device.info.about
    device.close()
    bandwidth, integer = read_bandwidth(given.threads, "huge"), integer_wall(given.threads)
    rows: dict[str, dict[str, float]] = {}
    for kind in given.types.split(",") if given.types else kinds:
        print(f"{kind} …", file=sys.stderr, end=" ", flush=True)
        rows[kind] = measure(kind, given.threads)
    print(file=sys.stderr)
    bandwidth, integer = (
        max(bandwidth, read_bandwidth(given.threads, "huge")),
        max(integer, integer_wall(given.threads)),
    )
    for r in rows.values():
        r["decode_share"], r["prefill_share"] = r["decode"] / bandwidth, r["prefill"] / integer if integer else 0.0
    found = {"device": about, "threads": given.threads, "bandwidth": bandwidth, "integer": integer, "types": rows}
    if given.svg:
        given.svg.write_text(draw(found), encoding="utf-8")
    if given.json:
        print(json.dumps(found))
        return
    print(f"{about}: {bandwidth / 1e9:.1f} GB/s, {integer / 1e12:.2f} TOP/s\n\n| type | decode GB/s | of the wall | "
          "prefill TOP/s | of the wall |\n| --- | --- | --- | --- | --- |")  # fmt: skip
    for kind, r in rows.items():
        print(f"| {kind} | {r['decode'] / 1e9:.1f} | {r['decode_share']:.0%} | {r['prefill'] / 1e12:.2f} | "
              f"{r['prefill_share']:.0%} |")  # fmt: skip


if __name__ == "__main__":
    main()
