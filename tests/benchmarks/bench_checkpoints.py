"""What dense checkpoints of SmolLM2-135M cost: this store against a plain file per step, DCP, and zstd of the whole file.

    python tests/benchmarks/bench_checkpoints.py --out DIR [--steps 50] [--every 10] [--learning-rate 1e-6] [--policy FOLDER]

Real AdamW steps (float32 master copy) on rows of GSM8K change the weights. Sizes are of every step. Times are taken at every
`--every`-th step, the ways one after the other (A B A B), each flushed to disk, and told as medians and ratios: seconds hang on
the machine. A policy's identity is timed against the sha256 of all its weights, patching against loading. Every step is restored in a
random order and compared with the identity that its weights had.
"""

import argparse
import json
import random
import shutil
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed.checkpoint as dcp
from harness import parser
from safetensors.torch import save_file

from npo_pipeline.configuration.compose import load_root
from npo_pipeline.grpo.optimizer import PolicyOptimizer
from npo_pipeline.policy.checkpoints import CheckpointWriter, Walk
from npo_pipeline.policy.gguf import load_gguf
from npo_pipeline.policy.identity import identity, weights_sha256
from npo_pipeline.policy.policy import Policy, load_policy, load_weights, own_weights, save_policy
from npo_pipeline.policy.scratch import build_scratch
from npo_pipeline.storage.atomic import flush
from npo_pipeline.storage.checkpoints import read_records
from npo_pipeline.storage.deltas import ZSTD, Weights, encode

PUT, PATCH = "store: copy, training waits", "restore: patch a neighbour in place, its file hashed"
LOAD, LOAD_NAME = "restore: load a full one from the page cache, unchecked", "restore: the same, and name its weights"
NAME, SHA256 = "name: identity, made where the weights are", "name: sha256 of all weights, read back"
ROWS = Path(__file__).resolve().parents[2] / "data/gsm8k/train.jsonl"
Seconds = dict[str, list[tuple[float, float]]]  # by the clock, and of CPU: of the calling thread, or where threads help it of all


def options(argv: Sequence[str] | None) -> argparse.Namespace:
    options = parser(__doc__)
    options.add_argument("--steps", type=int, default=50)
    options.add_argument("--every", type=int, default=10, help="steps between timings")
    options.add_argument("--learning-rate", type=float, default=1e-6)
    options.add_argument("--sequences", type=int, default=2)
    options.add_argument("--tokens", type=int, default=48, help="of each sequence")
    options.add_argument("--policy", type=Path, help="a model directory, trained in bfloat16; SmolLM2-135M unless it is given")
    options.add_argument("--device", default="cpu")
    found = options.parse_args(argv)
    if found.smallest:
        found.steps, found.every = 2, 1
    found.out = found.out / "checkpoints"  # about 2 GB
    return found


def the_policy(arguments: argparse.Namespace) -> Policy:
    """SmolLM2; or a policy of random weights where only the code is to be seen running."""
    folder = arguments.policy or arguments.out / "policy"
    if not folder.exists():
        settings = load_root("smollm2_gsm8k").policy
        small = replace(settings.scratch, hidden_size=32, intermediate_size=64, layers=1, vocab_size=300)
        made = build_scratch(["1 + 2"], small, 0) if arguments.smallest else load_gguf(settings.path or "", "bfloat16")
        save_policy(made, folder)
    return load_policy(folder, "bfloat16", arguments.device)


def batches(policy: Policy, sequences: int, tokens: int) -> Callable[[int], torch.Tensor]:
    rows = [json.loads(line) for line in ROWS.read_text().splitlines()]
    texts = [f"{row['question']}\n{row['answer']}" for row in rows]

    def batch(step: int) -> torch.Tensor:
        picked = [texts[(step * sequences + i) % len(texts)] for i in range(sequences)]
        ids = [policy.tokenizer.encode(text)[:tokens] for text in picked]
        return torch.tensor([row[: min(map(len, ids))] for row in ids], device=policy.device)

    return batch


def timed(seconds: Seconds, name: str, work: Callable[[], object], cpu_clock: Callable[[], float] = time.thread_time) -> None:
    """What a GPU was asked for before does not count; what `work` asks of it does, but for a copy on a stream of its own."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    clock, cpu = time.perf_counter(), cpu_clock()
    work()
    if torch.cuda.is_available():
        torch.cuda.current_stream().synchronize()
    seconds[name].append((time.perf_counter() - clock, cpu_clock() - cpu))


def size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def save_plain(weights: Weights, path: Path) -> None:
    save_file(dict(weights), path)
    flush(path)


def save_zstd(weights: Weights, path: Path) -> None:
    save_file(dict(weights), path)
    path.write_bytes(ZSTD.compress(path.read_bytes(), asbytes=True))
    flush(path)


def save_dcp(weights: Weights, folder: Path) -> None:
    dcp.save(dict(weights), storage_writer=dcp.FileSystemWriter(folder, sync_files=True), no_dist=True)


def train(policy: Policy, arguments: argparse.Namespace) -> tuple[Seconds, dict[str, list[int]], dict[int, str]]:
    """The steps, with a checkpoint of each; seconds, bytes of the others, and the name of every step's weights."""
    settings = load_root("smollm2_gsm8k", f"grpo.learning_rate={arguments.learning_rate}").grpo
    optimizer, batch = PolicyOptimizer(policy.model, settings), batches(policy, arguments.sequences, arguments.tokens)
    run, others = arguments.out / "run", arguments.out / "others"
    others.mkdir(parents=True)
    writer, seconds, sizes, names = CheckpointWriter(policy, run, 50), defaultdict(list), defaultdict(list), {}
    first = {name: tensor.clone() for name, tensor in own_weights(policy).items()}
    before = first
    for step in range(arguments.steps + 1):
        timed(seconds, NAME, lambda step=step: names.update({step: identity(policy)}))
        timed(seconds, PUT, lambda step=step: writer.put(step, names[step]))
        if step % arguments.every == 0:
            timed(seconds, "store: encode and write, on its thread", writer.wait)
            timed(seconds, SHA256, lambda: weights_sha256(policy))
            for name, save in (("plain", save_plain), ("zstd", save_zstd), ("dcp", save_dcp)):
                place = others / name / str(step)
                place.parent.mkdir(exist_ok=True)
                timed(seconds, name, lambda save=save, place=place: save(own_weights(policy), place))
                sizes[name].append(size(place) if place.is_dir() else place.stat().st_size)
                shutil.rmtree(place.parent)
        now = {name: tensor.clone() for name, tensor in own_weights(policy).items()}
        for name, base in (("xor with the step before", before), ("xor with the first", first)):
            if step and (step % arguments.every == 0 or step == 1):
                sizes[name].append(sum(tensor.nbytes for tensor in encode(base, now)[0].values()))
        before = now
        writer.before_change()
        if step < arguments.steps:
            timed(seconds, "step", lambda step=step: one_step(policy, optimizer, batch(step), step))
            print(f"step {step}: {seconds['step'][-1][0]:.1f} s, put {seconds[PUT][-1][0]:.3f} s", file=sys.stderr)
    writer.wait()
    writer.close()
    return seconds, sizes, names


def one_step(policy: Policy, optimizer: PolicyOptimizer, ids: torch.Tensor, step: int) -> None:
    policy.model(input_ids=ids, labels=ids).loss.backward()
    optimizer.step(step)


def restore(run: Path, names: dict[int, str], seconds: Seconds, device: str) -> int:
    """Every step in a random order, bit for bit; then a neighbour by patching and by loading, in turn. Returns steps that were exact."""
    order = list(names)
    random.Random(0).shuffle(order)
    walk = Walk(run, order[0], device)
    exact = 0
    for step in order:
        walk.to(step)
        exact += identity(walk.policy) == names[step]
    full = run / "checkpoints/step-000000"
    for _ in range(9):
        walk.to(0)
        timed(seconds, PATCH, lambda: walk.to(1), time.process_time)
        timed(seconds, LOAD, lambda: load_weights(walk.policy, full))
        walk.step = 0
        timed(seconds, LOAD_NAME, lambda: (load_weights(walk.policy, full), identity(walk.policy)))
    return exact


def main(argv: Sequence[str] | None = None) -> None:
    arguments = options(argv)
    torch.set_num_threads(1)
    for name in ("run", "others"):
        shutil.rmtree(arguments.out / name, ignore_errors=True)
    policy = the_policy(arguments)
    full = sum(tensor.nbytes for tensor in own_weights(policy).values())
    seconds, sizes, names = train(policy, arguments)
    exact = restore(arguments.out / "run", names, seconds, arguments.device)
    records = read_records(arguments.out / "run")
    deltas = [record.delta_size for record in records.values() if record.delta_size]
    median = {name: [statistics.median(column) for column in zip(*values, strict=True)] for name, values in seconds.items()}
    total = {name: [sum(column) for column in zip(*seconds[name][1:], strict=True)] for name in (PUT, NAME, "step")}
    result = {
        "arguments": {name: str(value) for name, value in vars(arguments).items()},
        "full_bytes": full,
        "delta_share": statistics.mean(deltas) / full,
        "delta_share_largest": max(deltas) / full,
        "share_with_full_ones": sum(sum(e["size"] for e in record.files.values()) for record in records.values()) / len(records) / full,
        "shares": {name: [value / full for value in values] for name, values in sizes.items()},
        "seconds": median,
        "put_over_step": [put / step for put, step in zip(total[PUT], total["step"], strict=True)],
        "name_over_step": [name / step for name, step in zip(total[NAME], total["step"], strict=True)],
        "name_faster": [sha256 / name for sha256, name in zip(median[SHA256], median[NAME], strict=True)],
        "patch_faster": [full / patch for full, patch in zip(median[LOAD], median[PATCH], strict=True)],
        "patch_faster_checked": [full / patch for full, patch in zip(median[LOAD_NAME], median[PATCH], strict=True)],
        "restored_exactly": f"{exact} of {len(names)}",
    }
    (arguments.out.with_suffix(".json")).write_text(json.dumps(result, indent=1) + "\n")
    print(table(result))


def table(result: dict) -> str:
    lines = [
        f"| {name}, bytes over a full one's | {'; '.join(f'{value:.2%}' for value in values)} |"
        for name, values in result["shares"].items()
    ]
    lines += [f"| {name} | {clock:.3f} s ({cpu:.3f} s) |" for name, (clock, cpu) in result["seconds"].items()]
    lines += [f"| {name} | {result[name]:.2%} |" for name in ("delta_share", "delta_share_largest", "share_with_full_ones")]
    lines += ["| {} | {:.2%} ({:.2%}) |".format(name, *result[name]) for name in ("put_over_step", "name_over_step")]
    faster = ("name_faster", "patch_faster", "patch_faster_checked")
    lines += ["| {} | {:.1f} times ({:.1f}) |".format(name, *result[name]) for name in faster]
    return "\n".join(["| what | by the clock (CPU) |", "| --- | --- |", *lines, f"| restored exactly | {result['restored_exactly']} |"])


if __name__ == "__main__":
    main()
