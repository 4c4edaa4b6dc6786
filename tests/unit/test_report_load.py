"""What a report reads, and what it says when a file is missing or damaged."""

import json
import shutil

import pytest
import yaml
from report_results import Shape, stage_of, write_results

from npo_pipeline.analysis.load import load_evaluation, load_results, load_run, load_schedule
from npo_pipeline.analysis.summary import summarise_policies
from npo_pipeline.errors import ArtifactError
from npo_pipeline.storage.layout import Layout

SHAPE = Shape(seeds=(0, 3), steps=6, problems=4, samples=2)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_results(tmp_path_factory.mktemp("results"), SHAPE)


@pytest.fixture
def layout(written, tmp_path):
    return Layout(shutil.copytree(written.root, tmp_path / "copy"), 3)


def test_everything_is_read(written):
    results = load_results(stage_of(SHAPE), written)
    assert [seed.seed for seed in results.seeds] == [0, 3]
    assert results.policies == ("initial", "probe", "npo", "autonpo")
    for seed in results.seeds:
        assert tuple(seed.runs) == results.runs
        assert [len(run.metrics) for run in seed.runs.values()] == [6, 6, 6]
        assert tuple(seed.evaluations) == results.policies
        assert sum(seed.evaluations["npo"].correct.values()) == sum(row["verified"] for row in seed.evaluations["npo"].trajectories)
    assert len(results.problems) == 4


def test_the_appendix_leaves_out_stages_of_other_reports(written):
    assert list(load_results(stage_of(SHAPE), written).configs) == ["prepare.yaml", "plan-npo.yaml", "plan-autonpo.yaml", "evaluate.yaml"]


@pytest.mark.parametrize(
    "name",
    [
        "prepare/problems.parquet",
        "seed-3/probe/metrics.jsonl",
        "seed-3/npo/metrics.jsonl",
        "seed-0/autonpo/schedule.yaml",
        "seed-3/evaluation/initial.json",
        "seed-3/evaluation/npo.parquet",
        "seed-0/guide/signal.parquet",
    ],
)
def test_a_missing_file_is_named_with_the_fix(layout, name):
    (layout.root / name).unlink()
    with pytest.raises(ArtifactError, match=r"not found.* Run that stage first") as caught:
        load_results(stage_of(SHAPE), layout)
    assert name in str(caught.value)


def test_timings_and_configs_may_be_absent(layout):
    for path in [*layout.root.rglob("timings.jsonl"), *layout.root.rglob("config/*.yaml")]:
        path.unlink()
    results = load_results(stage_of(SHAPE), layout)
    assert results.seeds[0].runs["npo"].timings == ()
    assert results.configs == {}
    assert summarise_policies(results)[1].training.seconds is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"step": 0', "line 1 is not JSON"),
        ('{"step": 0}\n', "line 1 has no 'reward/mean'"),
        ("[1]\n", "line 1 has no 'step'"),
        ("", "empty"),
    ],
)
def test_damaged_metrics_are_named_by_line(layout, text, message):
    (layout.probe / "metrics.jsonl").write_text(text)
    with pytest.raises(ArtifactError, match=message):
        load_run(layout, "probe")


def test_metrics_come_in_the_order_of_steps(layout):
    path = layout.probe / "metrics.jsonl"
    path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))
    assert [row["step"] for row in load_run(layout, "probe").metrics] == list(range(6))


@pytest.mark.parametrize(
    "text", ["", "[]", "a: [", "schema: 1", "{schema: 1, method: m, windows: [{from_step: 1}]}", "{schema: 1, method: m, windows: [3]}"]
)
def test_a_damaged_schedule_is_refused(layout, text):
    layout.schedule("npo").write_text(text)
    with pytest.raises(ArtifactError, match=r"(not readable as YAML|expected|schema).* The report shows"):
        load_schedule(layout.schedule("npo"))


def test_a_schedule_of_another_version_is_refused_and_one_without_decisions_is_read(layout):
    path = layout.schedule("autonpo")
    content = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(content | {"schema": 2}))
    with pytest.raises(ArtifactError, match="schema 2, this code reads"):
        load_schedule(path)
    path.write_text(yaml.safe_dump({"schema": 1, "method": "autonpo", "windows": []}))
    assert load_schedule(path).decisions == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: "{", "not JSON"),
        (lambda content: "[]", "schema 'list'"),
        (lambda content: json.dumps(content | {"schema": 9}), "schema 9"),
    ],
)
def test_a_damaged_evaluation_is_refused(layout, change, message):
    path = layout.evaluation("npo")
    path.write_text(change(json.loads(path.read_text())))
    with pytest.raises(ArtifactError, match=message):
        load_evaluation(layout, "npo")


@pytest.mark.parametrize("key", ["samples", "ks", "temperature", "bootstrap", "correct"])
def test_an_evaluation_without_a_key_is_refused(layout, key):
    path = layout.evaluation("npo")
    path.write_text(json.dumps({name: value for name, value in json.loads(path.read_text()).items() if name != key}))
    with pytest.raises(ArtifactError, match=f"no '{key}'"):
        load_evaluation(layout, "npo")


def test_evaluations_of_other_problems_are_not_compared(layout):
    path = layout.evaluation("npo")
    content = json.loads(path.read_text())
    content["correct"] = {f"other-{key}": count for key, count in content["correct"].items()}
    path.write_text(json.dumps(content))
    with pytest.raises(ArtifactError, match=r"seed-3/evaluation/npo\.json.*same problems"):
        summarise_policies(load_results(stage_of(SHAPE), layout))


def test_a_method_that_decides_live_has_the_windows_of_its_decisions(layout):
    """autonpo_online has no schedule: interventions.jsonl says what it did; a method without either has no windows at all."""
    (layout.root / "config/plan-npo.yaml").unlink()
    layout.schedule("npo").unlink()
    assert load_run(layout, "npo").schedule is None
    decisions = [
        {"step": 4, "chosen": None, "guide_step": None, "reason": "not confirmed", "candidates": []},
        {"step": 5, "chosen": 9, "guide_step": 15, "from_step": 6, "to_step": 15, "reason": "confirmed", "candidates": []},
    ]
    (layout.method("npo") / "interventions.jsonl").write_text("".join(json.dumps(decision) + "\n" for decision in decisions))
    schedule = load_run(layout, "npo").schedule
    assert [(window.from_step, window.to_step, window.guide_step) for window in schedule.windows] == [(6, 15, 15)]
    assert schedule.decisions == decisions
