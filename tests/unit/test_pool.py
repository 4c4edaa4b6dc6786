"""The mistake pool, the segments of a guide's reach, and sampling until verified."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from npo_pipeline.configuration.grid import checkpoint_steps
from npo_pipeline.guidance.generate import sample_until_verified
from npo_pipeline.guidance.pool import mistake_pool, segments
from npo_pipeline.records import Outcome, Problem, Trajectory
from npo_pipeline.storage.guides import OUTCOME, read_outcomes
from npo_pipeline.storage.layout import rollouts
from npo_pipeline.storage.parquet import write_table

OUTCOMES = [Outcome(3, "a", 0.0), Outcome(1, "b", 0.5), Outcome(2, "c", 0.75), Outcome(5, "a", 0.0), Outcome(4, "d", 0.6)]


def problem(name: str) -> Problem:
    return Problem(name, "train", name, name, "all", name, (1,))


def test_pool_is_gated_windowed_and_ordered_by_first_failure():
    assert mistake_pool(OUTCOMES, 0, 6, 0.6) == ["b", "a", "d"]
    assert mistake_pool(OUTCOMES, 2, 5, 0.6) == ["a", "d"]
    assert mistake_pool(OUTCOMES, 0, 6, 0.0) == ["a"]


@pytest.mark.parametrize(("solved", "of", "gate"), [(3, 5, 0.6), (1, 5, 0.2), (7, 10, 0.7), (1, 3, 1 / 3), (2, 3, 2 / 3)])
def test_a_group_exactly_at_the_gate_is_in_the_pool(tmp_path: Path, solved: int, of: int, gate: float):
    """Roll-outs keep accuracies in 32 bits, where 3 of 5 is a little more than 0.6."""
    rows = [{"step": 0, "problem_id": name, "group_accuracy": k / of} for name, k in (("at", solved), ("above", solved + 1))]
    write_table(rollouts(tmp_path, 0), rows, OUTCOME, "0" * 64)
    assert mistake_pool(read_outcomes(tmp_path, 0, 1), 0, 1, gate) == ["at"]


@given(st.integers(1, 7), st.integers(1, 60), st.integers(1, 60), st.integers(1, 60))
def test_segments_tile_the_lookback(every: int, steps: int, guide: int, lookback: int):
    guide = max(g for g in checkpoint_steps(every, steps) if g <= max(guide, every) or g == 0) or steps
    found = segments(checkpoint_steps(every, steps), guide, guide - lookback)
    covered = [step for segment in found for step in range(segment.start, segment.end)]
    assert covered == list(range(max(0, guide - lookback), guide))
    assert all(segment.current_step <= segment.start and segment.current_step in checkpoint_steps(every, steps) for segment in found)


def test_rounds_double_and_a_problem_stops_after_the_one_with_a_verified_trajectory():
    asked: list[list[tuple[str, int]]] = []

    def draw(draws):
        asked.append([(p.problem_id, j) for p, j in draws])
        right = {("a", 0), ("b", 1)}
        return [
            Trajectory(p.problem_id, j, (1,), (2,), (0.0,), float((p.problem_id, j) in right), (p.problem_id, j) in right, "stop", "")
            for p, j in draws
        ]

    found = sample_until_verified([problem("b"), problem("a"), problem("c")], 7, draw)
    assert asked == [[("b", 0), ("a", 0), ("c", 0)], [("b", 1), ("c", 1)], [("c", 2), ("c", 3)], [("c", 4), ("c", 5), ("c", 6)]]
    assert [(t.problem_id, t.sample_index) for t in found] == [("b", 0), ("b", 1), ("a", 0), *(("c", j) for j in range(7))]
