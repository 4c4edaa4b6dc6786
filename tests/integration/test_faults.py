"""Damage to every kind of file of a real experiment with deltas: found before use, named, mended; and a moved folder. Prints a table."""

import os
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from faults import OVERRIDES, Table, call, changed, flip, run_stage
from workflow_runner import Workflow

pytestmark = pytest.mark.slow

DATA, ARTIFACT = 65, 66


def cut(path: Path, other: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def turn(path: Path, other: Path) -> None:
    flip(path)


def swap(path: Path, other: Path) -> None:
    shutil.copy(other, path)


DAMAGES: list[Callable[[Path, Path], None]] = [cut, turn, swap]
PROBE, GUIDE, NPO, EVALUATION = "seed-0/probe", "seed-0/guide", "seed-0/npo", "seed-0/evaluation"
SHARD = "trajectories-00000-of-00001.parquet"
GUIDE_STAGE, GUIDED, REPORT = ("guide", "guide"), ("guided", "guided-npo"), ("report", "report")
EVALUATE = ("evaluate", "evaluate", "--policy", "probe")
# A file, and the stage that reads it. Another's valid file is the same one of seed 1, but for what all seeds share.
TARGETS = [
    (f"{PROBE}/checkpoints/step-000002/delta/delta.safetensors", GUIDE_STAGE),
    (f"{PROBE}/checkpoints/step-000000/model.safetensors", EVALUATE),
    (f"{PROBE}/checkpoints/step-000002/checkpoint.json", GUIDE_STAGE),
    (f"{PROBE}/rollouts/step-000001.parquet", GUIDE_STAGE),
    (f"{PROBE}/metrics.jsonl", REPORT),
    (f"{PROBE}/manifest.json", GUIDE_STAGE),
    ("prepare/policy/model.safetensors", ("probe", "probe")),
    ("prepare/problems.parquet", ("probe", "probe")),
    (f"{GUIDE}/step-000002/{SHARD}", GUIDED),
    (f"{GUIDE}/step-000002/manifest.json", GUIDED),
    (f"{GUIDE}/signal.parquet", REPORT),
    (f"{GUIDE}/manifest.json", GUIDED),
    (f"{NPO}/metrics.jsonl", REPORT),
    (f"{NPO}/manifest.json", (*EVALUATE[:3], "npo")),
    (f"{EVALUATION}/npo.json", REPORT),
    (f"{EVALUATION}/npo.parquet", REPORT),
]
OF_ALL_SEEDS = {
    "prepare/policy/model.safetensors": f"{NPO}/policy/model.safetensors",
    "prepare/problems.parquet": f"{EVALUATION}/npo.parquet",
}
SAME_IN_ALL_SEEDS = f"{PROBE}/checkpoints/step-000000/model.safetensors"  # the initial policy: not to be told from another seed's


def other_of(name: str) -> str:
    if name == SAME_IN_ALL_SEEDS:
        return f"{NPO}/policy/model.safetensors"
    return OF_ALL_SEEDS.get(name, name.replace("seed-0", "seed-1"))


def kind_of(name: str) -> str:
    return "manifest" if name.endswith("manifest.json") else name.split("/")[-1].split("-0")[0]


def test_damage_is_found_before_use_and_named(copy: Workflow, table: Table) -> None:
    """In every kind of file, by the stage that reads it; nothing is written meanwhile."""
    missed, before = [], copy.digests()
    for name, (stage, config, *options) in TARGETS:
        path, whole = copy.results / name, (copy.results / name).read_bytes()
        for damage in DAMAGES:
            damage(path, copy.results / other_of(name))
            assert path.read_bytes() != whole, name
            done = run_stage(copy, stage, config, *options)
            named = done.returncode == ARTIFACT and str(path) in done.stdout and len(done.stdout.splitlines()) == 1
            path.write_bytes(whole)
            lost = changed(before, copy.digests())
            table.add(kind_of(name), f"{DAMAGED[damage]}: found before use, named", named and not lost, lost)
            if not named or lost:
                missed.append((name, damage.__name__, done.returncode, done.stdout[-300:]))
    assert not missed


DAMAGED = {cut: "cut short", turn: "a bit turned", swap: "another run's valid file"}


@pytest.mark.parametrize(("other", "line"), [("seed-1/autonpo", "method: found 'autonpo'"), ("seed-1/npo", "seed: found 1, expected 0")])
def test_the_schedule_of_another_run_is_refused(copy: Workflow, table: Table, other: str, line: str) -> None:
    """It is a file to be edited, so it has no sha256; it says whose it is."""
    path = copy.results / NPO / "schedule.yaml"
    shutil.copy(copy.results / other / "schedule.yaml", path)
    done = run_stage(copy, *GUIDED)
    named = done.returncode == DATA and done.stdout.startswith(f"error: {path}: {line}") and len(done.stdout.splitlines()) == 1
    table.add("schedule", f"{DAMAGED[swap]}: found before use, named", named, 0)
    assert named, done.stdout


def test_verify_names_every_damaged_file_at_once(copy: Workflow) -> None:
    # What a damaged manifest, or a damaged evaluation, vouches for cannot be checked.
    files = [name for name, _ in TARGETS if not name.endswith(("manifest.json", "npo.parquet"))]
    for name in files:
        flip(copy.results / name)
    done = call([sys.executable, "-m", "npo_pipeline", "verify", str(copy.results)])
    assert done.returncode == ARTIFACT, done.stdout
    for name in files:
        assert f"\n{copy.results / name}: " in f"\n{done.stdout}"


def test_mend_and_snakemake_make_anew_what_is_damaged_and_what_follows(copy: Workflow, table: Table) -> None:
    """A roll-out, a guide shard and an evaluation of seed 0: their stages and what follows them run, nothing else does."""
    before = copy.digests()
    for name in (f"{PROBE}/rollouts/step-000001.parquet", f"{GUIDE}/step-000002/{SHARD}", f"{EVALUATION}/npo.json"):
        shutil.copy(copy.results / other_of(name), copy.results / name)
    whole = (copy.results / GUIDE / "step-000004/manifest.json").stat().st_mtime_ns
    mended = call(mend(copy))
    assert mended.returncode == 0, mended.stdout
    jobs = copy.run(overrides=OVERRIDES)
    lost = changed(before, copy.digests())
    table.add("probe, guide, evaluation", f"{DAMAGED[swap]}: mend, and snakemake again", lost == 0, lost)
    assert lost == 0
    # Snakemake makes what follows a stage anew, too, to the same bytes; nothing before it, and no other seed.
    assert {"probe seed=0", "guide_job seed=0 job=0 jobs=1", "evaluate seed=0 policy=npo"} <= jobs
    assert not [job for job in jobs if job == "prepare" or "seed=1" in job or job == "evaluate seed=0 policy=initial"]
    assert (copy.results / GUIDE / "step-000004/manifest.json").stat().st_mtime_ns == whole
    assert copy.planned(overrides=OVERRIDES) == set()


def mend(workflow: Workflow) -> list[str]:
    return [sys.executable, "-m", "npo_pipeline", "mend", str(workflow.results)]


@pytest.mark.parametrize("seed", range(int(os.environ.get("NPO_FAULT_HALVES", "1"))))
def test_a_machine_that_comes_back_with_half_of_the_files(copy: Workflow, table: Table, seed: int) -> None:
    """A random half of everything is gone, manifests among it."""
    before, rng = copy.digests(), random.Random(seed)
    for name in rng.sample(sorted(before), len(before) // 2):
        if not name.startswith("config/"):
            (copy.results / name).unlink()
    mended = call(mend(copy))
    assert mended.returncode == 0, mended.stdout
    done = copy.call(overrides=OVERRIDES)
    lost = changed(before, copy.digests())
    table.add("workflow", "half of the files gone: mend, and again", done.returncode == 0 and lost == 0, lost)
    assert done.returncode == 0, done.stdout
    assert lost == 0


def test_a_moved_folder_still_works(copy: Workflow, tmp_path: Path, table: Table) -> None:
    before = copy.digests()
    shutil.move(copy.folder, tmp_path / "elsewhere")
    moved = Workflow(tmp_path / "elsewhere")
    assert moved.planned(overrides=OVERRIDES) == set()
    result = moved.results / "seed-0/evaluation/probe.json"
    result.unlink()
    done = run_stage(moved, *EVALUATE)
    assert done.returncode == 0, done.stdout
    lost = changed(before, moved.digests())
    table.add("workflow", "results moved to another path", lost == 0, lost)
    assert lost == 0
