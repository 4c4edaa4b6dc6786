"""AutoNPO within one run: it goes back, takes the segment again with guides, pays for both; and a killed run does the same."""

from pathlib import Path

import pytest
from in_process import Experiment
from workflow_runner import TINY, Workflow

from npo_pipeline.analysis.costs import run_spend
from npo_pipeline.analysis.load import load_run
from npo_pipeline.analysis.methods import needs
from npo_pipeline.analysis.results import Run
from npo_pipeline.grpo import loop, rewind
from npo_pipeline.grpo.step import StepOutcome, Trainer, run_step
from npo_pipeline.policy.checkpoints import Walk
from npo_pipeline.policy.identity import identity
from npo_pipeline.storage.checkpoints import read_records
from npo_pipeline.storage.parquet import GUIDE_SHARD, ROLLOUT, read_rows
from npo_pipeline.storage.run_files import METRICS, RunFiles, read_jsonl

pytestmark = pytest.mark.slow

NAME = "autonpo_rollback"
# A trigger that fires as soon as it may, and again only after three steps.
EAGER = (
    f"method=[{NAME}] probe.steps=6 guided.checkpoint_every=6 grpo.learning_rate=1e-3 "
    f"method.{NAME}.rollback={{every:1,lookback:3,tries:8}} "
    f"method.{NAME}.autonpo={{ema:1.0,patience:2,min_gain:2.0,entropy_drop:-9.0,min_coverage:0.01,cooldown:3}}"
)


def everything(run: Path) -> dict[str, bytes]:
    return {str(file.relative_to(run)): file.read_bytes() for file in run.rglob("*") if file.is_file() and file.name != "timings.jsonl"}


@pytest.fixture(scope="module")
def gone_back(template: Workflow, tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    folder = tmp_path_factory.mktemp("rollback") / "x"
    experiment = Experiment(folder, f"{TINY} {EAGER}", template.results / "prepare")
    experiment.run(f"guided-{NAME}")
    return experiment


@pytest.fixture(scope="module")
def run(gone_back: Experiment) -> Path:
    return gone_back.root / "seed-0" / NAME


def test_the_segment_is_taken_again_with_guides_of_the_policy_that_warned(run: Path) -> None:
    folder, decision = rewind.segments(run)[0]
    now, back = decision["now"], decision["back_to"]
    assert now == 3
    assert back in (1, 2)
    candidates = decision["account"]["candidates"]
    assert [row["current_step"] for row in candidates] == [1, 2]
    assert decision["account"]["chosen"] == now - back
    best = max(row["s"] for row in candidates if row["s"])
    assert next(row["s"] for row in candidates if row["current_step"] == back) == best
    rows = read_jsonl(run / METRICS)
    assert [row["step"] for row in rows] == list(range(6))
    again = [row for row in rows if back <= row["step"] < now]
    assert sum(row["guide/injected"] for row in again) > 0
    assert all(row["guide/injected"] == 0 for row in rows if row["step"] < back)
    first_time = read_jsonl(folder / METRICS)
    assert [row["step"] for row in first_time] == [row["step"] for row in again]
    assert first_time[0]["reward/mean"] == again[0]["reward/mean"], "the same policy and seeds: it differs in what is mixed in"
    guides = {row["problem_id"]: row["response_token_ids"] for row in read_rows(folder / "trajectories.parquet", GUIDE_SHARD)}
    for step in range(back, now):
        injected = [r for r in read_rows(run / f"rollouts/step-{step:06}.parquet", ROLLOUT) if r["source"] == "guide"]
        assert all((r["guide_step"], r["response_token_ids"]) == (now, guides[r["problem_id"]]) for r in injected)


def test_it_pays_for_what_it_threw_away(run: Path) -> None:
    """`guide/tokens` of a step gone back to holds the first time and the roll-out that confirmed; all that was sampled is counted once."""
    owed: dict[int, int] = {}
    sampled = sum(row["completions/tokens"] for row in read_jsonl(run / METRICS))
    for folder, decision in rewind.segments(run):
        first_time = sum(row["completions/tokens"] for row in read_jsonl(folder / METRICS))
        assert first_time > 0
        assert decision["tokens"] > 0
        sampled += first_time + decision["tokens"]
        owed[decision["back_to"]] = first_time + decision["tokens"]
    rows = {row["step"]: row for row in read_jsonl(run / METRICS)}
    assert {step: row["guide/tokens"] for step, row in rows.items() if row["guide/tokens"]} == owed
    assert run_spend(Run(tuple(rows.values()))).tokens == sampled


def test_what_is_left_is_an_ordinary_run(gone_back: Experiment, run: Path) -> None:
    assert not (run / "states").exists()
    for step, record in read_records(run).items():
        assert identity(Walk(run, step).policy) == record.weights_sha256
    schedule = load_run(gone_back.layout, NAME).schedule
    assert schedule
    _, decision = rewind.segments(run)[0]
    assert (schedule.windows[0].from_step, schedule.windows[0].to_step, schedule.windows[0].guide_step) == (decision["back_to"], 3, 3)


@pytest.mark.parametrize("dies_in", ["second pass", "going back"])
def test_a_killed_one_comes_to_the_same_bytes(
    gone_back: Experiment, run: Path, dies_in: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, steps = everything(run), []

    def dies(trainer: Trainer, step: int, *others: object) -> StepOutcome:
        steps.append(step)
        if steps.count(2) == 2:
            raise RuntimeError("killed")
        return run_step(trainer, step, *others)  # type: ignore[arg-type]

    def breaks(files: RunFiles, step: int) -> None:
        if rewind.segments(files.folder):
            raise RuntimeError("killed")

    again = gone_back.copied(tmp_path / "x")
    (again.root / "seed-0" / NAME / "manifest.json").unlink()
    with monkeypatch.context() as patched:
        if dies_in == "second pass":
            patched.setattr(loop, "run_step", dies)
        else:
            patched.setattr(RunFiles, "cut", breaks)
        with pytest.raises(RuntimeError, match="killed"):
            again.run(f"guided-{NAME}", save_every=1)
    assert rewind.segments(again.root / "seed-0" / NAME)
    again.run(f"guided-{NAME}", save_every=1)
    assert everything(again.root / "seed-0" / NAME) == before


def test_it_needs_neither_probe_nor_guides(gone_back: Experiment) -> None:
    assert needs(NAME, gone_back.stages[f"guided-{NAME}"]["method"]) == frozenset()
