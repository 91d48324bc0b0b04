#!/usr/bin/env python3
"""Halflap's CPU device and llama-cpp-python on the same file, in turn, in one process tree.

    python tests/bench/versus_llama_cpp.py FILE.gguf [--threads 2] [--prompt 512] [--generate 64] [--rounds 5]
                                           [--peer-python PYTHON] [--only prefill|decode] [--json]

Each engine lives in a child that waits for its turn; rounds go A B A B, and the ratio of the bests is what counts:
machines are shared and drift. `busy` is the share of all CPUs that other processes took meanwhile. A peer in another
environment is named by its interpreter (or HALFLAP_PEER_PYTHON). Without a file, a random-weight TinyLlama is made by
perf/make_model.py of the shared folder.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from device_steps import DeviceSteps, tokens
from hybrid_models import SHAPES

MISSING = 3  # exit status of a child whose engine is not installed


class Ours:
    """The device alone: graph, weights and steps, without engine or sampling."""

    def __init__(self, path: str, threads: int, prompt: int, generate: int) -> None:
        most = max(prompt, generate)
        self.steps = DeviceSteps(path, threads=threads, context=most, tokens=max(prompt, 1))
        self.name = self.steps.name

    def step(self, start: int, count: int) -> None:
        self.steps.step(start, count)

    def reset(self) -> None:
        pass


class Theirs:
    """llama-cpp-python through its low-level API."""

    def __init__(self, path: str, threads: int, prompt: int, generate: int) -> None:
        import ctypes

        import llama_cpp as lc

        self.lc, self.name = lc, f"llama-cpp-python {lc.__version__}"
        self._quiet = lc.llama_log_callback(lambda level, text, data: None)
        lc.llama_log_set(self._quiet, ctypes.c_void_p(0))
        lc.llama_backend_init()
        self.model = lc.llama_model_load_from_file(path.encode(), lc.llama_model_default_params())
        parameters = lc.llama_context_default_params()
        parameters.n_ctx = max(prompt, generate) + 32
        parameters.n_batch = parameters.n_ubatch = max(prompt, 1)
        parameters.n_threads = parameters.n_threads_batch = threads
        self.context = lc.llama_init_from_model(self.model, parameters)
        self.ids = tokens(max(prompt, generate), lc.llama_vocab_n_tokens(lc.llama_model_get_vocab(self.model)))

    def step(self, start: int, count: int) -> None:
        array = (self.lc.llama_token * count)(*self.ids[start : start + count])
        if self.lc.llama_decode(self.context, self.lc.llama_batch_get_one(array, count)):
            raise SystemExit("llama_decode failed")
        self.lc.llama_synchronize(self.context)

    def reset(self) -> None:
        self.lc.llama_memory_clear(self.lc.llama_get_memory(self.context), True)


def child(engine: str, path: str, threads: int, prompt: int, generate: int) -> None:
    """Serve turns: a line "prefill" or "decode" in, seconds out."""
    try:
        made = (Ours if engine == "ours" else Theirs)(path, threads, prompt, generate)
    except ImportError as error:
        print(f"missing {error.name}", flush=True)
        raise SystemExit(MISSING) from None
    print(json.dumps(made.name), flush=True)
    for line in sys.stdin:
        made.reset()
        start = time.perf_counter()
        if line.strip() == "prefill":
            made.step(0, prompt)
        else:
            for i in range(generate):
                made.step(i, 1)
        print(time.perf_counter() - start, flush=True)


class Child:
    def __init__(self, engine: str, python: str, arguments: list[str]) -> None:
        self.process = subprocess.Popen(
            [python, __file__, "--child", engine, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        first = self._read()
        if first.startswith("missing"):
            raise SystemExit(f"versus_llama_cpp: got no module {first.split()[-1]!r} in {python}, want it installed")
        self.name = json.loads(first)

    def _read(self) -> str:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"versus_llama_cpp: a child ended with status {self.process.wait()}")
        return line

    def turn(self, what: str) -> float:
        assert self.process.stdin
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        return float(self._read())

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


def cpu_ticks() -> tuple[int, int]:
    fields = [int(x) for x in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
    return sum(fields) - fields[3] - fields[4], sum(fields)


def own_ticks(children: list[Child]) -> int:
    total = 0
    for one in children:
        fields = Path(f"/proc/{one.process.pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total


def compare(
    path: str, *, threads: int = 2, prompt: int = 512, generate: int = 64, rounds: int = 5, only: str = "",
    peer_python: str = "",
) -> dict[str, Any]:  # fmt: skip
    """Tokens per second of both engines and the ratios of their bests."""
    arguments = [path, "--threads", str(threads), "--prompt", str(prompt), "--generate", str(generate)]
    peer = peer_python or os.environ.get("HALFLAP_PEER_PYTHON") or sys.executable
    children = [Child("theirs", peer, arguments), Child("ours", sys.executable, arguments)]
    used, total = cpu_ticks()
    own = own_ticks(children)
    result: dict[str, Any] = {"ours": children[1].name, "theirs": children[0].name, "threads": threads}
    for what, count in (("prefill", prompt), ("decode", generate)):
        if only not in ("", what):
            continue
        best = [float("inf"), float("inf")]
        for round_number in range(rounds + 1):
            for i, one in enumerate(children):
                seconds = one.turn(what)
                if round_number:  # the first warms up
                    best[i] = min(best[i], seconds)
        theirs, ours = (count / seconds for seconds in best)
        result[what] = {"ours": round(ours, 1), "theirs": round(theirs, 1), "ratio": round(ours / theirs, 3)}
    used, total, own = cpu_ticks()[0] - used, cpu_ticks()[1] - total, own_ticks(children) - own
    result["busy"] = round(max(0, used - own) / max(1, total), 3)
    for one in children:
        one.close()
    return result


def shared_model(name: str) -> str:
    """A random-weight model such as "tinyllama-1.1b Q4_K_M", made once in the temporary folder."""
    shape, kind = name.split()
    root = Path(__file__).resolve().parents[2]
    shared = Path(os.environ.get("HALFLAP_SHARED", root.parent / "shared"))
    ours = shape in SHAPES
    script = Path(__file__).with_name("hybrid_models.py") if ours else shared / "perf" / "make_model.py"
    if not script.exists():
        raise SystemExit("versus_llama_cpp: got no perf/make_model.py, want HALFLAP_SHARED to name its folder")
    target = Path(os.environ.get("HALFLAP_BENCH_MODELS", tempfile.gettempdir())) / f"{shape}-{kind}.gguf"
    if not target.exists():
        python = sys.executable if ours else os.environ.get("HALFLAP_PEER_PYTHON", sys.executable)
        subprocess.run([python, str(script), shape, kind, f"{target}.part"], check=True, stdout=sys.stderr)
        os.replace(f"{target}.part", target)
        Path(f"{target}.part.f16").unlink(missing_ok=True)
    return str(target)


def read_bandwidth(threads: int, *pages: str) -> float:
    """Bytes per second that these threads read from memory, now; with "huge", from huge pages."""
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "read_bandwidth"
        source = Path(__file__).with_name("read_bandwidth.c")
        subprocess.run(["cc", "-O3", "-march=native", "-pthread", str(source), "-o", str(program)], check=True)
        return float(
            subprocess.run([str(program), str(threads), *pages], check=True, capture_output=True, text=True).stdout
        )


def bytes_per_token(path: str) -> float:
    """Weight bytes that decoding one token reads: of experts those that are used, of embeddings none unless tied."""
    from halflap import loading

    with loading.open_model(path) as file:
        experts = [file.metadata.get(f"{file.architecture}.expert_{kind}", 1) for kind in ("used_count", "count")]
        tied = "output.weight" not in file.tensors
        total = 0.0
        for name, info in file.tensors.items():
            if name != "token_embd.weight" or tied:
                total += info.nbytes * (experts[0] / experts[1] if "_exps." in name else 1)
    return total


def bar(name: str, model: str, what: str, least: float) -> None:
    """One line and an exit status: the form of tests/bench/bars. Decoding at 93 % of the read bandwidth passes too."""
    rounds = int(os.environ.get("HALFLAP_BENCH_ROUNDS", "5"))
    try:
        path = shared_model(model)
        before = read_bandwidth(2) if what == "decode" else 0.0
        found = compare(path, only=what, rounds=rounds)
        wall = max(before, read_bandwidth(2)) if what == "decode" else 0.0
    except (SystemExit, subprocess.CalledProcessError) as error:
        print(f"{name}: not measured: {error}")
        raise SystemExit(1) from None
    got = found[what]
    passed, share = got["ratio"] >= least, ""
    if wall:
        fraction = got["ours"] * bytes_per_token(path) / wall
        passed = passed or fraction >= 0.93
        share = f", {fraction:.0%} of {wall / 1e9:.1f} GB/s"
    print(
        f"{name}: {'pass' if passed else 'FAIL'}: {got['ratio']:.2f} of llama.cpp, want {least} "
        f"({got['ours']} and {got['theirs']} tokens/s{share}, {found['threads']} threads, busy {found['busy']})"
    )
    raise SystemExit(0 if passed else 1)


def main() -> None:
    parser = argparse.ArgumentParser(description="Halflap's CPU device against llama-cpp-python")
    parser.add_argument("file", nargs="?")
    parser.add_argument("--child", choices=["ours", "theirs"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--generate", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=["prefill", "decode"], default="")
    parser.add_argument("--peer-python", default="")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    path = given.file or shared_model("tinyllama-1.1b Q4_K_M")
    if given.child:
        child(given.child, path, given.threads, given.prompt, given.generate)
        return
    found = compare(
        path, threads=given.threads, prompt=given.prompt, generate=given.generate, rounds=given.rounds, only=given.only,
        peer_python=given.peer_python,
    )  # fmt: skip
    if given.json:
        print(json.dumps(found))
        return
    print(f"{found['ours']}\n{found['theirs']}\nbusy {found['busy']}")
    for what in ("prefill", "decode"):
        if what in found:
            ours, theirs, ratio = (found[what][key] for key in ("ours", "theirs", "ratio"))
            print(f"{what}: ours {ours}, theirs {theirs} tokens/s: {ratio:.2f}")


if __name__ == "__main__":
    main()
