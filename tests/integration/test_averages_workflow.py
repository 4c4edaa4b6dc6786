"""Averaged policies through the real workflow: added to results that were made without them, of which nothing is made anew."""

import json
import shutil

import pytest
from faults import run_stage
from workflow_runner import Workflow

pytestmark = pytest.mark.slow

ON = "average_last=0.25"
REPORT = {"report"}
AVERAGED = {f"evaluate_averaged seed=0 run={run}" for run in ("probe", "npo")} | REPORT
CONFIG = 78


@pytest.fixture(scope="module")
def averaged(template: Workflow, tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """The experiment of the other tests, which has no averages, extended by them."""
    workflow = Workflow(tmp_path_factory.mktemp("averages") / "a copy")
    shutil.copytree(template.folder, workflow.folder)
    before = workflow.digests()
    assert workflow.planned(overrides=ON) == AVERAGED
    assert workflow.run(overrides=ON) == AVERAGED
    after = workflow.digests()
    renewed = {name for name in before if after[name] != before[name]}
    assert all(name.startswith(("comparison/", "config/report.yaml", "inputs/")) for name in renewed), renewed
    return workflow


def test_a_second_call_does_nothing(averaged: Workflow) -> None:
    before = averaged.digests()
    assert averaged.run(overrides=ON) == set()
    assert averaged.digests() == before


def test_every_run_has_its_average_on_the_same_steps(averaged: Workflow) -> None:
    for run in ("probe", "npo"):
        manifest = json.loads((averaged.results / f"seed-0/{run}/policy-averaged/manifest.json").read_text())
        assert (manifest["run"], manifest["average_of"]) == (run, [2, 4])
        evaluation = json.loads((averaged.results / f"seed-0/evaluation/{run}-averaged.json").read_text())
        assert evaluation["policy_sha256"] == manifest["policy_sha256"]
    assert "| npo, averaged |" in (averaged.results / "comparison/table.md").read_text()


@pytest.mark.parametrize(
    ("overrides", "rerun"),
    [
        (f"{ON} average_last=1.0", AVERAGED),
        (f"{ON} evaluate.seed=1", {f"evaluate seed=0 policy={policy}" for policy in ("initial", "probe", "npo")} | AVERAGED),
        (
            f"{ON} guided.checkpoint_every=2",
            {"guided seed=0 method=npo", "evaluate seed=0 policy=npo", "evaluate_averaged seed=0 run=npo"} | REPORT,
        ),
        ("average_last=null", REPORT),
    ],
)
def test_what_a_knob_reruns(averaged: Workflow, overrides: str, rerun: set[str]) -> None:
    assert averaged.planned(overrides=overrides) == rerun


def test_a_deleted_or_damaged_one_is_made_again(averaged: Workflow, tmp_path_factory: pytest.TempPathFactory) -> None:
    copy = Workflow(tmp_path_factory.mktemp("deleted") / "a copy")
    shutil.copytree(averaged.folder, copy.folder)
    before = copy.digests()
    shutil.rmtree(copy.results / "seed-0/npo/policy-averaged")
    assert copy.run(overrides=ON) == {"evaluate_averaged seed=0 run=npo"} | REPORT
    assert copy.digests() == before


def test_by_hand(averaged: Workflow) -> None:
    average = ("--average", str(averaged.results / "config/average.yaml"))
    before = averaged.digests("seed-0")
    assert run_stage(averaged, "evaluate", "evaluate", "--policy", "npo-averaged", *average).returncode == 0
    assert averaged.digests("seed-0") == before
    refused = run_stage(averaged, "evaluate", "evaluate", "--policy", "npo", *average)
    assert refused.returncode == CONFIG
    assert refused.stdout.startswith("error: --policy='npo': expected the name of a run with -averaged, beside --average")


def test_runs_are_evaluated_along_their_way_and_compared_at_equal_tokens(averaged: Workflow) -> None:
    """A curve ends with what the evaluations of the run's end and of its average say, to the response."""
    overrides = f"{ON} comparison.every=2 comparison.seeds=[0] comparison.methods=[npo] comparison.resamples=100"
    assert averaged.run("comparison", overrides=overrides) == {
        "evaluate_curve seed=0 run=probe",
        "evaluate_curve seed=0 run=npo",
        "comparison",
    }
    for run in ("probe", "npo"):
        points = json.loads((averaged.results / f"seed-0/{run}/curve.json").read_text())["points"]
        ends = [json.loads((averaged.results / f"seed-0/evaluation/{name}.json").read_text()) for name in (run, f"{run}-averaged")]
        assert [point["step"] for point in points] == [2, 4]
        assert [points[-1]["correct"], points[-1]["averaged"]] == [end["correct"] for end in ends]
    # npo costs more than the whole of this GRPO, so there is no budget that both have come to.
    assert '\ntokens,"held-out, averaged",npo,the end of the shorter,,,,,\n' in (averaged.results / "comparison/equal.csv").read_text()
    assert "## At equal" not in (averaged.results / "comparison/table.md").read_text()
    assert averaged.planned("comparison", overrides=overrides) == set()
    done = run_stage(averaged, "evaluate", "evaluate", "--curve", str(averaged.results / "config/curve.yaml"))
    assert done.returncode == CONFIG
    assert done.stdout.startswith("error: --policy=None: expected the name of a run, beside --curve")
