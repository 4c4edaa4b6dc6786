"""Is a run on a plateau? Over the last half of its steps the reward's slope cannot be told from 0, and many groups are all wrong.

In a short or noisy run nothing can be told from 0: so the slope must also be told from half the pace at which the run came there.

Neighbouring steps share the policy, so that their rewards are no independent measurements: the slope is that of a line through the
means of BLOCKS equal pieces, with Student's interval (Draper and Smith 1998, chapter 1), and so of BLOCKS - 2 degrees of freedom.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from npo_pipeline.analysis.results import Run
from npo_pipeline.analysis.series import Floats, steps, values
from npo_pipeline.analysis.statistics import Interval, students_interval

BLOCKS = 10
SHORTEST = 40  # steps: a block of the last half has at least two
ALL_WRONG = 0.2  # share of the groups from which GRPO learns nothing and a guide could
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Plateau:
    """`slope` of reward per 100 steps and `all_wrong` are of the last half, whose mean reward is `gain` above the first tenth's.

    `pace`: that gain per 100 steps, from the middle of the one to the middle of the other.
    `since` is the first step from which on the slope is flat.
    """

    slope: Interval
    all_wrong: float
    gain: float
    pace: float
    since: int | None  # on a grid of tenths of the run; None where not even its last half is flat

    @property
    def there(self) -> bool:
        """Something was learned, and then no more: a run that is flat from its first step on has learned nothing."""
        return self.gain > 0 and bool(self.since) and self.slope.high < self.pace / 2 and self.all_wrong >= ALL_WRONG


def plateau(run: Run) -> Plateau | None:
    """None for a run too short to tell, or one with steps of unknown reward."""
    reward, wrong = values(run, "reward/mean"), values(run, "groups/all_wrong")
    if len(reward) < SHORTEST or not np.isfinite(reward).all() or not np.isfinite(wrong).all():
        return None
    half = len(reward) // 2
    gain = float(reward[half:].mean() - reward[: len(reward) // 10].mean())
    pace = 100.0 * gain / (0.7 * len(reward))  # three quarters of the run less a twentieth
    return Plateau(slope(reward[half:]), float(wrong[half:].mean()), gain, pace, _since(reward, steps(run)))


def _since(reward: Floats, numbers: Sequence[int]) -> int | None:
    """The first tenth in the first half from which on every later one, up to half-way, begins a flat rest."""
    starts = [len(reward) * tenth // 10 for tenth in range(5)] + [len(reward) // 2]
    steep = [start for start in starts if slope(reward[start:]).excludes_zero]
    flat = [start for start in starts if not steep or start > steep[-1]]
    return numbers[flat[0]] if flat else None


def slope(reward: Floats) -> Interval:
    """Of reward per 100 steps, with its interval. Example: a reward that rises by .01 a step has 1 [1, 1]."""
    pieces = np.array_split(np.arange(len(reward), dtype=np.float64), BLOCKS)
    at, height = np.array([piece.mean() for piece in pieces]), np.array([reward[piece.astype(int)].mean() for piece in pieces])
    found = stats.linregress(at, height)
    error = float(found.stderr) if np.ptp(height) else 0.0  # of equal heights scipy has none
    return students_interval(100.0 * float(found.slope), 100.0 * error, BLOCKS - 2, CONFIDENCE)
