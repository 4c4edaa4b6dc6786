"""Guide trajectories: the guide checkpoint tries each prompt of the pool until one try is verified, at most k times."""

from collections.abc import Callable, Sequence

from npo_pipeline.records import Problem, Trajectory
from npo_pipeline.rollout.sample import Draw

SampleDraws = Callable[[Sequence[Draw]], list[Trajectory]]


def sample_until_verified(problems: Sequence[Problem], tries: int, sample_draws: SampleDraws) -> list[Trajectory]:
    """All trajectories that were sampled, ordered by problem and try.

    Round j draws sample j of each problem that is still unsolved, so what is sampled for a problem does not hang on the others.
    """
    unsolved, kept = list(problems), list[Trajectory]()
    for j in range(tries):
        if not unsolved:
            break
        found = sample_draws([(problem, j) for problem in unsolved])
        kept += found
        unsolved = [problem for problem, trajectory in zip(unsolved, found, strict=True) if not trajectory.verified]
    place = {problem.problem_id: i for i, problem in enumerate(problems)}
    return sorted(kept, key=lambda trajectory: (place[trajectory.problem_id], trajectory.sample_index))
