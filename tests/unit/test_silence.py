"""A run from which nothing is learnt says so, once, and only then."""

import logging

import pytest

from npo_pipeline.grpo.silence import Silence, nothing_learnt


def rows(reward: float, norm: float | None = 0.0, injected: int = 0, steps: int = 12) -> list[dict[str, float | None]]:
    return [{"reward/mean": reward, "grad_norm": norm, "guide/injected": injected} for _ in range(steps)]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (rows(0.0), "nothing was rewarded in any step, and the gradient was zero throughout: the weights never changed"),
        (rows(1.0), "every response was rewarded in every step, and the gradient was zero throughout: the weights never changed"),
        (rows(0.0, 0.5, 2, steps=3), "nothing was rewarded in any step, other than 6 guide trajectories that were injected"),
        (rows(0.0, None), "nothing was rewarded in any step"),
        (rows(0.5), "the gradient was zero throughout: the weights never changed"),
        (rows(0.5, 0.1), None),
        ([*rows(0.0), *rows(0.1, 0.1, steps=1)], None),
        ([], None),
    ],
)
def test_what_metrics_say(found, expected: str | None):
    assert nothing_learnt(found) == expected


@pytest.mark.parametrize("steps", [3, 10, 200])
def test_it_is_said_once_after_the_first_steps(steps: int, caplog: pytest.LogCaptureFixture):
    silence = Silence("probe", steps)
    with caplog.at_level(logging.WARNING):
        for i, row in enumerate(rows(0.0, steps=steps), 1):
            silence.see(row)
            assert len(caplog.records) == (i >= min(10, steps))
    assert f"probe: in its first {min(10, steps)} steps nothing was rewarded in any step" in caplog.text
