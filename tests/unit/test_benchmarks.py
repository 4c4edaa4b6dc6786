"""Held-out benchmarks: their settings, their problems, and the paper's table with its average."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from report_results import Shape, stage_of, write_results

from npo_pipeline.analysis.benchmarks import summarise_benchmarks
from npo_pipeline.analysis.report.build import build_report
from npo_pipeline.configuration.compose import load_root, stage_configs
from npo_pipeline.configuration.settings import BenchmarkConfig
from npo_pipeline.errors import ArtifactError, ConfigError, DataError
from npo_pipeline.records import Problem
from npo_pipeline.storage.atomic import write_text
from npo_pipeline.tasks.benchmarks import load_benchmark, trained_on


def rows(path: Path, count: int, start: int = 0) -> Path:
    path.write_text("".join(json.dumps({"q": f"{i} + 1 =", "a": i + 1}) + "\n" for i in range(start, start + count)))
    return path


def test_settings_reach_the_stages_that_they_concern() -> None:
    override = "evaluate.benchmarks.plus={data:plus.jsonl,question_column:q}"
    with_one, without = (stage_configs(load_root(overrides=overrides)) for overrides in ([override], []))
    assert with_one["benchmarks"]["benchmarks"]["plus"]["question_column"] == "q"
    assert "benchmarks" not in without
    same = [name for name in without if name != "evaluate"]
    assert all(with_one[name] == without[name] for name in same), "a benchmark more reruns evaluations only"
    for wrong, message in (
        ("evaluate.benchmarks.eval={data:x.jsonl}", "another name"),
        ("evaluate.benchmarks.plus={data:x.jsonl,size:0}", "evaluate.benchmarks.plus.size=0: expected at least 1"),
        (
            "evaluate.benchmarks.plus={dat:x.jsonl}",
            r"evaluate.benchmarks.plus.dat: no such key; did you mean evaluate.benchmarks.plus.data",
        ),
    ):
        with pytest.raises(ConfigError, match=message):
            load_root(overrides=[wrong])
    with pytest.raises(ConfigError, match=r"task.verifier.kind='reasoning_gym': expected exact, math or python"):
        load_root(overrides=[override, "task.verifier.kind=reasoning_gym"])


def test_problems_of_a_benchmark(tmp_path: Path) -> None:
    settings = BenchmarkConfig(str(rows(tmp_path / "plus.jsonl", 20)), question_column="q", answer_column="a", size=5)
    task = load_root().task
    found = load_benchmark("plus", settings, task)
    assert [raw.problem_id for raw in found] == [f"plus-{i:06d}" for i in range(5)]
    assert {raw.split for raw in found} == {"plus"}
    assert all(raw.answer == str(int(raw.question.split()[0]) + 1) for raw in found)
    assert load_benchmark("plus", settings, task) == found
    training = [
        Problem(f"train-{i}", "train", question, "", "all", "", ()) for i, question in enumerate((f"{found[1].question} \r\n", "another"))
    ]
    assert trained_on({"plus": found}, training) == {"plus": 1}
    with pytest.raises(DataError, match=r"evaluate.benchmarks.plus.data=.*none.jsonl: no such file"):
        load_benchmark("plus", replace(settings, data=str(tmp_path / "none.jsonl")), task)


def test_every_benchmark_counts_alike_and_differences_are_paired() -> None:
    easy, hard = np.array([[1.0, 0.5]]), np.zeros((1, 40))
    scores = {"easy": {"probe": easy, "npo": easy + 0.1}, "hard": {"probe": hard, "npo": hard + 0.1}}
    found = summarise_benchmarks(scores, 500, 0.95, 0)
    assert found["probe"].scores["easy"].value == pytest.approx(0.75)
    assert found["probe"].average.value == pytest.approx(0.375), "two problems weigh as much as forty"
    assert found["probe"].to_grpo is None
    gain = found["npo"].to_grpo
    assert gain is not None
    assert (gain.value, gain.low, gain.high) == pytest.approx((0.1, 0.1, 0.1)), "the same gain on every problem has no width"
    assert (found["probe"].average.low, found["probe"].average.high) == pytest.approx((0.25, 0.5))


def test_the_interval_of_the_average_is_that_of_independent_benchmarks() -> None:
    """Against the normal approximation: the variance of a mean of independent means."""
    rng = np.random.default_rng(0)
    scores = {name: {"probe": rng.random((1, 200))} for name in ("a", "b", "c")}
    found = summarise_benchmarks(scores, 4000, 0.95, 1)["probe"].average
    variance = sum(own["probe"].var() / 200 for own in scores.values()) / 9
    assert found.high - found.low == pytest.approx(2 * 1.96 * variance**0.5, rel=0.05)


def test_seeds_are_shared_by_the_benchmarks() -> None:
    """What a seed does to all benchmarks alike does not average out over them."""
    shift = np.array([[0.1], [0.5], [0.9]])
    scores = {name: {"probe": np.repeat(shift, 50, axis=1)} for name in ("a", "b", "c", "d")}
    found = summarise_benchmarks(scores, 2000, 0.95, 1)["probe"]
    assert (found.average.low, found.average.high) == pytest.approx((found.scores["a"].low, found.scores["a"].high))
    assert found.average.high - found.average.low > 0.5


def with_benchmarks(root: Path, left_out: str = "") -> tuple[Shape, Path]:
    """A written experiment whose evaluations have two benchmarks (of the policy `left_out` one problem is missing)."""
    shape = Shape(seeds=(0,), steps=6, problems=8)
    write_results(root, shape)
    for place, path in enumerate(sorted((root / "seed-0/evaluation").glob("*.json"))):
        content = json.loads(path.read_text())
        counts = {f"maths-{i:06d}": (i + place) % 9 for i in range(0 if path.stem != left_out else 1, 6)}
        content["benchmarks"] = {"maths": {"correct": counts}, "physics": {"correct": {"physics-000000": 4, "physics-000001": 8}}}
        write_text(path, json.dumps(content))
    return shape, root


def test_report_and_table_have_a_column_per_benchmark_and_the_average(tmp_path: Path) -> None:
    from npo_pipeline.storage.layout import Layout

    shape, root = with_benchmarks(tmp_path)
    build_report(stage_of(shape), Layout(root), "0" * 64)
    table = (root / "comparison/table.md").read_text()
    assert "| policy | maths | physics | average of benchmarks | minus GRPO |" in table
    header = (root / "comparison/table.csv").read_text().splitlines()[0].split(",")
    assert {"mean@8 benchmark=maths", "mean@8 benchmarks", "mean@8 benchmarks low", "mean@8 benchmarks minus GRPO"} <= set(header)
    assert "Every benchmark counts alike" in (root / "report.html").read_text()


def test_policies_evaluated_on_other_benchmark_problems_are_not_compared(tmp_path: Path) -> None:
    from npo_pipeline.storage.layout import Layout

    shape, root = with_benchmarks(tmp_path, left_out="npo")
    with pytest.raises(ArtifactError, match=r"seed-0/evaluation/npo.json: .*the same problems"):
        build_report(stage_of(shape), Layout(root), "0" * 64)
