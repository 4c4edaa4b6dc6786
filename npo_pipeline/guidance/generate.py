"""Guide trajectories: a policy tries each prompt until as many tries as wanted are verified, at most k times."""

from collections import Counter
from collections.abc import Callable, Sequence

from npo_pipeline.records import Draw, Problem, Trajectory

SampleDraws = Callable[[Sequence[Draw]], list[Trajectory]]


def sample_until_verified(problems: Sequence[Problem], tries: int, sample_draws: SampleDraws, wanted: int = 1) -> list[Trajectory]:
    """All trajectories that were sampled, ordered by problem and try.

    Round j draws sample j of each problem that is still unsolved, so what is sampled for a problem does not hang on the others.
    """
    unsolved, kept, verified = list(problems), list[Trajectory](), Counter[str]()
    for j in range(tries):
        if not unsolved:
            break
        found = sample_draws([(problem, j) for problem in unsolved])
        kept += found
        verified.update(trajectory.problem_id for trajectory in found if trajectory.verified)
        unsolved = [problem for problem in unsolved if verified[problem.problem_id] < wanted]
    place = {problem.problem_id: i for i, problem in enumerate(problems)}
    return sorted(kept, key=lambda trajectory: (place[trajectory.problem_id], trajectory.sample_index))
