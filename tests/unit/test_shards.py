"""Guide trajectories and demonstrations as a run takes them: of its own prompts, and no longer than it could sample itself."""

from pathlib import Path

import pytest

from npo_pipeline.guidance.shards.load import load_demonstrations, load_guides
from npo_pipeline.records import Problem, Trajectory
from npo_pipeline.storage.guides import write_shards
from npo_pipeline.storage.layout import Layout
from npo_pipeline.storage.manifest import write_manifest
from npo_pipeline.storage.parquet import PROBLEMS, problem_row, trajectory_row, write_table

PROBLEM = [Problem(f"p{i}", "train", "q", "a", "all", f"prompt {i}", (1, 2)) for i in range(2)]


def trajectory(i: int, index: int, length: int) -> Trajectory:
    return Trajectory(f"p{i}", index, (1, 2), (5,) * length, (-0.1,) * length, 1.0, True, "stop", "a")


def write(folder: Path, *trajectories: Trajectory) -> None:
    rows = [trajectory_row(t, 4, f"prompt {t.problem_id[1:]}", "sha") for t in trajectories]
    write_manifest(folder, "guide", "sha", write_shards(folder, rows, 10, "sha", {}), {"guide_step": 4})


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    write_table(Layout(tmp_path).problems, [problem_row(problem) for problem in PROBLEM], PROBLEMS, "sha")
    return Layout(tmp_path)


def test_a_guide_longer_than_the_runs_limit_is_left_out_and_counted(layout: Layout, caplog: pytest.LogCaptureFixture) -> None:
    """The next verified one of the same prompt takes its place; a prompt without another was tried all the same."""
    write(layout.guide_step(4), trajectory(0, 0, 9), trajectory(0, 1, 8), trajectory(1, 0, 9))
    supply, tried = load_guides(layout, {4}, longest=8)
    assert {key: guide.trajectory.sample_index for key, guide in supply.items()} == {(4, "p0"): 1}
    assert tried == {4: {"p0", "p1"}}
    assert f"{layout.guide_step(4)}: 2 of 3 trajectories are longer than sampling.max_new_tokens=8" in caplog.text


def test_so_is_a_demonstration(layout: Layout, caplog: pytest.LogCaptureFixture) -> None:
    write(layout.demonstrations("luffy"), trajectory(0, 0, 9), trajectory(1, 0, 3))
    assert list(load_demonstrations(layout, "luffy", wanted=1, longest=8)) == ["p1"]
    assert "1 of 2 trajectories are longer" in caplog.text
    caplog.clear()
    assert list(load_demonstrations(layout, "luffy", wanted=1, longest=9)) == ["p0", "p1"]
    assert not caplog.text
