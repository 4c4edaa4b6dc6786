"""Two held-out benchmarks added to a finished experiment: only evaluations and the report are made again."""

import json
from itertools import product
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from workflow_runner import Workflow

pytestmark = pytest.mark.slow


def write_rows(path: Path, lists: list[tuple[float, ...]]) -> None:
    """Sorting problems as the task shows them, in columns of their own."""
    shown = [(", ".join(map(str, numbers)), str([str(number) for number in sorted(numbers)])) for numbers in lists]
    rows = [{"task": f"Sort these numbers in ascending order: {numbers}", "sorted": answer} for numbers, answer in shown]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_benchmarks_beside_the_task(finished: Workflow, tmp_path: Path) -> None:
    write_rows(tmp_path / "pairs.jsonl", list(product((0.0, 1.0, 2.0, 3.0), repeat=2)))
    write_rows(tmp_path / "longer.jsonl", [(3.0, 2.0, 1.0, 0.0), (0.0, 3.0, 1.0, 2.0), (2.0, 2.0, 1.0, 3.0)])
    columns = "question_column:task,answer_column:sorted"
    overrides = " ".join(f"evaluate.benchmarks.{name}={{data:{tmp_path}/{name}.jsonl,{columns}}}" for name in ("pairs", "longer"))
    before, samples = finished.digests("seed-0/probe"), finished.results / "seed-0/evaluation/npo.parquet"
    own_samples = pq.read_table(samples)
    jobs = finished.run(overrides=overrides)
    assert jobs == {"benchmarks", *(f"evaluate seed=0 policy={policy}" for policy in ("initial", "probe", "npo")), "report"}
    assert finished.digests("seed-0/probe") == before
    assert pq.read_table(samples).equals(own_samples), "to the last bit of each log-prob"

    manifest = json.loads((finished.results / "held-out/manifest.json").read_text())
    assert manifest["problems"] == {"pairs": 16, "longer": 3}
    found = json.loads((finished.results / "seed-0/evaluation/npo.json").read_text())
    assert {name: own["n_problems"] for name, own in found["benchmarks"].items()} == {"pairs": 16, "longer": 3}
    means = [own["overall"]["mean@2"]["value"] for own in found["benchmarks"].values()]
    assert found["average"]["mean@2"]["value"] == pytest.approx(sum(means) / 2)
    assert found["n_problems"] == 8, "the task's own problems, as before"

    import datasets

    kept = datasets.load_dataset("parquet", data_files=str(finished.results / "seed-0/evaluation/npo.benchmarks.parquet"), split="train")
    assert len(kept) == 19 * 2
    right = sum(kept["verified"])
    assert right > 0, "the cold start taught it pairs"
    assert right == sum(sum(own["correct"].values()) for own in found["benchmarks"].values())
    assert "| policy | pairs | longer | average of benchmarks | minus GRPO |" in (finished.results / "comparison/table.md").read_text()
    assert finished.planned(overrides=overrides) == set()
