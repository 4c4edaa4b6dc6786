"""docs/own-reward.md as it stands: its reward file and its conversations through the workflow; what a change of the file runs again."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from workflow_runner import PROJECT, Workflow

OWN = (
    " task=dataset task.train=gsm8k_messages.jsonl task.question_column=messages task.difficulty_key=steps"
    " task.train_size=12 task.eval_size=3 'task.config={}' 'task.cold_start_config={}' grpo.prompts_per_step=4"
    " policy.cold_start.steps=20 policy.cold_start.examples=32"
    " task.verifier.kind=python task.verifier.function=my_rewards.py:score report_to=[tensorboard]"
)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    workflow = Workflow(tmp_path_factory.mktemp("own reward"))
    for file in (PROJECT / "docs/examples").iterdir():
        shutil.copy(file, workflow.folder)
    workflow.run(overrides=OWN)
    return workflow


def test_rewards_are_the_functions_and_problems_hold_the_turns(own: Workflow) -> None:
    problems = pq.read_table(own.results / "prepare/problems.parquet").to_pylist()
    metadata = [json.loads(problem["metadata"]) for problem in problems]
    assert all(set(found) == {"steps", "prompt_messages"} for found in metadata)
    assert all(problem["prompt"].startswith("system: Solve the problem.") for problem in problems)
    rows = [row for file in own.results.glob("seed-0/probe/rollouts/*.parquet") for row in pq.read_table(file).to_pylist()]
    assert rows
    assert {row["reward"] for row in rows} <= {0.0, 0.5, 1.0}
    assert all(row["verified"] == (row["reward"] == 1.0) for row in rows)


def test_tensorboard_says_what_metrics_jsonl_says(own: Workflow) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason="tensorboard is not installed")
    for run in ("probe", "npo"):
        folder = own.results / "seed-0" / run
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        events = accumulator.EventAccumulator(str(folder / "tensorboard"))
        events.Reload()
        assert {"reward/mean", "accuracy", "loss", "guide/injected", "learning_rate"} <= set(events.Tags()["scalars"])
        for name in events.Tags()["scalars"]:
            found = [(event.step, event.value) for event in events.Scalars(name)]
            assert found == [(line["step"], float(np.float32(line[name]))) for line in lines if line[name] is not None]


def test_only_a_change_of_the_file_runs_again(own: Workflow) -> None:
    assert own.planned(overrides=OWN.replace(" report_to=[tensorboard]", "")) == set()
    file = own.folder / "my_rewards.py"
    text = file.read_text()
    file.touch()
    assert own.planned(overrides=OWN) == set()
    file.write_text(text.replace("else 0.5", "else 0.25"))
    assert {"prepare", "probe seed=0", "evaluate seed=0 policy=npo"} <= own.planned(overrides=OWN)
    file.write_text(text)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("def score(text): return 1\n", "takes (text)"),
        ("import not_there\n", "cannot be imported: ModuleNotFoundError"),
        (None, "no file my_rewards.py"),
    ],
)
def test_a_file_that_cannot_work_is_one_line_before_any_job(tmp_path: Path, body: str | None, said: str) -> None:
    workflow = Workflow(tmp_path)
    shutil.copy(PROJECT / "docs/examples/gsm8k_messages.jsonl", tmp_path)
    if body:
        (tmp_path / "my_rewards.py").write_text(body)
    done = workflow.call(overrides=OWN)
    assert done.returncode != 0
    assert [line for line in done.stdout.splitlines() if said in line and "task.verifier.function=my_rewards.py:score" in line]
    assert not workflow.results.exists()
