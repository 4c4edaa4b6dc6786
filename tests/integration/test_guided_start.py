"""A guided run that begins in the middle: with the kept state and no guides it is the probe from there on, to the byte."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from in_process import Experiment
from workflow_runner import TINY, Workflow

from npo_pipeline.errors import ConfigError
from npo_pipeline.grpo import loop
from npo_pipeline.grpo.learning_rate import Warmup
from npo_pipeline.grpo.step import StepOutcome, Trainer, run_step
from npo_pipeline.policy.checkpoints import Walk
from npo_pipeline.policy.policy import export_policy
from npo_pipeline.storage.checkpoints import read_records
from npo_pipeline.storage.parquet import SIGNAL, read_rows
from npo_pipeline.storage.run_files import METRICS, read_jsonl

pytestmark = pytest.mark.slow

KEPT = (
    "probe.keep_states=2 probe.checkpoint_every=1 guided.checkpoint_every=1 method=[grpo_long,npo,npo_within] method.grpo_long.length=1.0"
)
COLUMNS = ("problem_id", "guide_step", "sample_index", "response_token_ids", "guide_logprobs", "verified", "policy_sha256")


@pytest.fixture(scope="module")
def begun(template: Workflow, tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """A probe that kept its optimizer's state, and plain GRPO from its step 2 on."""
    folder = tmp_path_factory.mktemp("begun") / "x"
    experiment = Experiment(folder, f"{TINY} {KEPT} guided.start=2", template.results / "prepare")
    experiment.run_all("probe", "guided-grpo_long", "guide", "plan-npo", "guided-npo", "guided-npo_within")
    return experiment


def test_it_leaves_the_bytes_of_the_probe(begun: Experiment) -> None:
    probe, own = (begun.root / "seed-0" / name for name in ("probe", "grpo_long"))
    assert (probe / METRICS).read_text().splitlines()[2:] == (own / METRICS).read_text().splitlines()
    names = [{step: record.weights_sha256 for step, record in read_records(run).items()} for run in (probe, own)]
    assert names[1] == {step: names[0][step] for step in (2, 3, 4)}
    assert names[0][2] != names[0][4], "nothing was learnt"
    for step in (2, 3):
        ours, theirs = (pq.read_table(run / f"rollouts/step-{step:06}.parquet") for run in (own, probe))
        assert ours.replace_schema_metadata().equals(theirs.replace_schema_metadata())
    assert sorted(file.name for file in (own / "rollouts").iterdir()) == ["step-000002.parquet", "step-000003.parquet"]


def test_a_run_whose_average_finishes_groups_begins_there_too(begun: Experiment) -> None:
    """Its average begins with the policy of that step, and the first step is the probe's but for who finishes failed groups."""
    own = read_jsonl(begun.root / "seed-0/npo_within" / METRICS)
    assert [row["step"] for row in own] == [2, 3]
    assert own[0]["paired/prompts"] > 0
    assert own[0]["average/v"] in (None, pytest.approx(1.0, abs=1e-3)), "nothing lies between the two policies yet"
    rows = pq.read_table(begun.root / "seed-0/npo_within/rollouts/step-000002.parquet").to_pylist()
    theirs = pq.read_table(begun.root / "seed-0/probe/rollouts/step-000002.parquet").to_pylist()
    assert len(rows) == len(theirs)
    drawn = {(row["problem_id"], row["sample_index"]): row["response_token_ids"] for row in theirs}
    same = [drawn[row["problem_id"], row["sample_index"]] == row["response_token_ids"] for row in rows if row["source"] == "on_policy"]
    assert same
    assert all(same)


def test_a_killed_one_resumes_to_the_same_bytes(
    begun: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The state that is resumed from is the run's own, not the probe's."""
    again = begun.copied(tmp_path / "x")
    own = again.root / "seed-0/npo"
    before = {str(f.relative_to(own)): f.read_bytes() for f in own.rglob("*") if f.is_file() and f.name != "timings.jsonl"}

    def dies(trainer: Trainer, step: int, *others: object) -> StepOutcome:
        if step == 3:
            raise RuntimeError("killed")
        return run_step(trainer, step, *others)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(loop, "run_step", dies)
        with pytest.raises(RuntimeError, match="killed"):
            again.run("guided-npo", save_every=1)
    again.run("guided-npo", save_every=1)
    assert "npo: resuming from step 3\n" in capsys.readouterr().err
    assert {str(f.relative_to(own)): f.read_bytes() for f in own.rglob("*") if f.is_file() and f.name != "timings.jsonl"} == before


def test_without_the_state_moments_are_fresh_and_the_rate_warms_up(
    begun: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = begun.copied(tmp_path / "x")
    shutil.rmtree(again.root / "seed-0/probe/states")
    manifest = json.loads((again.root / "seed-0/probe/manifest.json").read_text())
    assert any(entry["path"].startswith("states/") for entry in manifest["files"])
    again.run("guided-grpo_long")
    assert (
        "with fresh moments, since no state of its optimizer was kept there; the learning rate rises over 10 steps"
        in capsys.readouterr().err
    )
    rates = [row["learning_rate"] for row in read_jsonl(again.root / "seed-0/grpo_long" / METRICS)]
    assert rates == pytest.approx([2e-4 * Warmup(2, 10).share(step) for step in (2, 3)])
    assert rates[0] == pytest.approx(2e-5)


def test_guides_are_for_what_comes_after_the_start(begun: Experiment) -> None:
    assert begun.stages["guide"]["guide_steps"] == [4]
    assert {row["current_step"] for row in read_rows(begun.layout.signal, SIGNAL)} == {2, 3}
    windows = begun.stages["plan-npo"]["method"]["windows"]
    assert [(w["from_step"], w["to_step"], w["guide_step"]) for w in windows] == [(2, 4, 4)]


def test_exported_checkpoints_that_are_adopted_give_the_same_guides(begun: Experiment, template: Workflow, tmp_path: Path) -> None:
    """Every checkpoint is there, so what is sampled of them is what the probe sampled itself."""
    probe = begun.root / "seed-0/probe"
    for step in range(1, 5):
        export_policy(Walk(probe, step).policy, tmp_path / f"exported/step-{step}")
    policy = f"policy.source=pretrained policy.path='{template.results}/prepare/policy' policy.cold_start.steps=0"
    adopt = f"probe.adopt='{tmp_path}/exported/step-*' guided.start=2"
    experiment = Experiment(tmp_path / "x", f"{TINY} {policy} {adopt}", template.results / "prepare")
    experiment.run_all("adopt", "guide", "plan-npo", "guided-npo")
    ours, theirs = (
        pq.read_table(sorted((run.root / "seed-0/guide/step-000004").glob("trajectories*"))[0]).select(list(COLUMNS))
        for run in (experiment, begun)
    )
    assert ours.equals(theirs)
    assert ours.num_rows > 0
    signals = [repr(read_rows(run.layout.signal, SIGNAL)) for run in (experiment, begun)]  # as text: errors of one trajectory are NaN
    assert signals[0] == signals[1]
    injected = [[row["guide/problem_ids"] for row in read_jsonl(run.root / "seed-0/npo" / METRICS)] for run in (experiment, begun)]
    assert injected[0][0] == injected[1][0]  # the second step's hang on moments, which an exported policy has none of


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ("guided.start=3", "guided.start=3: the probe has no checkpoint there before its end; take from 0, 2"),
        ("guided.start=2 method=[npo_early]", "method.npo_early.windows: every window ends before guided.start=2"),
        ("guided.start=2 method=[grpo_long] method.grpo_long.length=0.5", "method.grpo_long.length=0.5: the run would end at step 2, but"),
        ("probe.keep_states=3", "probe.keep_states=3: expected a multiple of probe.checkpoint_every=2, or null"),
        ("guided.start=-2", "guided.start=-2"),
        ("guided.start=2 guided.start_warmup=-1", "guided.start_warmup=-1: expected 0 or more steps"),
    ],
)
def test_a_wrong_start_is_one_line(overrides: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said.replace("[", r"\[").replace(".", r"\.")):
        Experiment(tmp_path / "x", f"{TINY} {overrides}")
