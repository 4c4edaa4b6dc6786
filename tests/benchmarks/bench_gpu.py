"""A step on a GPU, part by part: ours with each engine, TRL's beside it with the same, against what the card can do at most.

    python tests/benchmarks/bench_gpu.py --out DIR [--minutes 6] [--only 0.6] [--device cuda]

Needs no network and no installation: PYTHONPATH is enough. It makes its random policies itself. Each case runs in a process of its own,
with the card to itself; one that fails or for which no time is left is named in the table. Without a GPU it runs at the smallest size.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gpu_case import GpuCase
from gpu_policy import PROMPT
from harness import environment, one_thread, parser, write

HERE = Path(__file__).resolve().parent
SMALLEST: dict[str, Any] = {
    "shape": "tiny",
    "dtype": "float32",
    "prompts": 2,
    "group": 2,
    "tokens": 4,
    "micro": 256,
    "steps": 3,
    "smallest": True,
}
# In the order of what one wants to know first: there may not be time for all. TRL is held against ours at the first shape.
CASES: dict[str, dict[str, Any]] = {
    "0.6 ours vllm": {"engine": "vllm"},
    "0.6 ours transformers": {},
    "0.6 TRL vllm": {"who": "trl", "engine": "vllm"},
    "0.6 TRL transformers": {"who": "trl"},
    "1.7 ours vllm": {"shape": "1.7", "engine": "vllm", "prompts": 8, "tokens": 128},
    "8 LoRA ours vllm": {"shape": "8", "engine": "vllm", "prompts": 8, "tokens": 128, "rank": 16, "recompute": True},
    "4 ours vllm": {"shape": "4", "engine": "vllm", "prompts": 8, "tokens": 128, "micro": 2048, "recompute": True},
}
PARTS = ("sample", "weights", "forward+backward", "optimizer", "identity", "checkpoint")
COLUMNS = [
    "case",
    "step, s",
    *(f"{part}, s" for part in PARTS),
    "sampled tokens/s",
    "TFLOP/s (6ND)",
    "peak, GB",
    "forecast, GB",
    "start, s",
]


def main(argv: Sequence[str] | None = None) -> None:
    options = parser(__doc__)
    options.add_argument("--minutes", type=float, default=6.0, help="in all; cases for which none are left are not begun (default 6)")
    options.add_argument("--only", nargs="+", default=[""], help="cases whose name begins so: 0.6, '0.6 ours'")
    options.add_argument("--device", choices=("cpu", "cuda"), help="default: cuda where there is one")
    arguments = options.parse_args(argv)
    one_thread()
    device = arguments.device or ("cuda" if has_gpu() else "cpu")
    end = time.monotonic() + 60 * arguments.minutes
    cases = [case for case in make_cases(arguments, device) if case.name.startswith(tuple(arguments.only)) or case.who == "ceilings"]
    found = {case.name: run(case, end) for case in cases}
    rows = [row(found[case.name], case) for case in cases if case.who != "ceilings"]
    ceiling = found["ceilings"]
    write(arguments.out, "gpu", {"device": ceiling.get("device", device), "cases": found}, COLUMNS, rows)
    if "error" not in ceiling:
        product, copy = f"{ceiling['product_tflops']:.3g} TFLOP/s", f"{ceiling['copy_tb']:.3g} TB/s"
        print(f"{ceiling['device']}: {product} in a matrix product of bfloat16, {copy} read and written in a copy")


def has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def make_cases(arguments: argparse.Namespace, device: str) -> list[GpuCase]:
    """The ceilings, and every case whose library is there: on a CPU at the smallest size, without vLLM, whose start takes longest."""
    small = arguments.smallest or device == "cpu"
    has = {"trl": find_spec("trl") is not None, "vllm": find_spec("vllm") is not None and not small}
    made = [GpuCase("ceilings", "ceilings", str(arguments.out), device, smallest=small)]
    for name, given in CASES.items():
        values = {"who": "ours"} | given | (SMALLEST if small else {})
        wants = {values["who"], values.get("engine", "transformers")} & has.keys()
        if all(has[library] for library in wants) and (name.startswith("0.6") or not small):
            shown = name.replace("0.6", "tiny") if small else name
            made.append(GpuCase(shown, out=str(arguments.out / shown.replace(" ", "-")), device=device, **values))
    return made


def run(case: GpuCase, end: float) -> dict[str, Any]:
    """What the case found, or {"error": why it did not}: never an exception."""
    left = end - time.monotonic()
    if left <= 0:
        return {"error": "no time left"}
    log = Path(case.out) / "log.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    print(f"{case.name}: begins, {left / 60:.1f} minutes left", file=sys.stderr, flush=True)
    try:
        said, code = said_in(left, [sys.executable, str(HERE / "gpu_case.py"), json.dumps(asdict(case))], log)
    except subprocess.TimeoutExpired:
        return {"error": "no time left"}
    try:
        return dict(json.loads(said.strip().splitlines()[-1]))
    except (IndexError, ValueError, TypeError):
        return {"error": f"{last_line(log) or f'exit code {code}'} ({log})"}


def said_in(seconds: float, command: Sequence[str], log: Path) -> tuple[str, int]:
    """What the command says, and its exit code; it ends in time, and so do the processes that it has started. Raises TimeoutExpired."""
    with log.open("w") as stream:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stream, text=True, env=in_here(), start_new_session=True)
        try:
            return process.communicate(timeout=seconds)[0], process.returncode
        finally:
            with suppress(ProcessLookupError):  # it and all of them have ended
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def in_here() -> dict[str, str]:
    """One case after the other, on as many threads as the host gives: what a GPU waits for is the host."""
    return environment() | {"VLLM_USE_FLASHINFER_SAMPLER": os.environ.get("VLLM_USE_FLASHINFER_SAMPLER", "0")}


def last_line(log: Path) -> str:
    return next((line.strip()[:200] for line in reversed(log.read_text(errors="replace").splitlines()) if line.strip()), "")


def row(found: dict[str, Any], case: GpuCase) -> list[object]:
    if "error" in found:
        return [case.name, found["error"], *["-"] * (len(COLUMNS) - 2)]
    seconds, sampled = found["seconds"], case.rows * case.tokens
    flops = 6 * found["parameters"] * (sampled + case.rows * PROMPT)
    backward = seconds.get("forward+backward")
    return [
        case.name,
        seconds["step"],
        *(seconds.get(part, "-") for part in PARTS),
        sampled / seconds["sample"],
        flops / backward / 1e12 if backward else "-",
        found["peak"] / 1e9,
        found["forecast"] / 1e9 if "forecast" in found else "-",
        found.get("start", "-"),
    ]


if __name__ == "__main__":
    main()
