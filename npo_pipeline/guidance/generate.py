"""Guide trajectories: a policy tries each prompt until as many tries as wanted are verified, at most k times."""

from collections import Counter
from collections.abc import Callable, Sequence

from npo_pipeline.records import Draw, Problem, Trajectory

SampleDraws = Callable[[Sequence[Draw]], list[Trajectory]]
Room = Callable[[Sequence[Trajectory]], int]  # for how many more tries, after those sampled so far


def sample_until_verified(
    problems: Sequence[Problem], tries: int, sample_draws: SampleDraws, wanted: int = 1, room: Room | None = None
) -> list[Trajectory]:
    """All trajectories that were sampled, ordered by problem and try.

    Each round draws as many samples of each problem that is still unsolved as it has drawn so far: 1, 1, 2, 4, ... A prompt is read once
    a round, so single tries would read it up to `tries` times; all at once would waste most samples of the easy prompts.
    What is sampled for a problem does not hang on the others, as long as there is `room` for all: else the last of a round are left out.
    """
    unsolved, kept, verified, tried = list(problems), list[Trajectory](), Counter[str](), 0
    while unsolved and tried < tries:
        numbers = range(tried, min(2 * tried or 1, tries))
        draws = [(problem, j) for problem in unsolved for j in numbers]
        if room:
            draws = draws[: room(kept)]
        found = sample_draws(draws) if draws else []
        kept, tried = kept + found, numbers.stop
        verified.update(trajectory.problem_id for trajectory in found if trajectory.verified)
        unsolved = [problem for problem in unsolved if verified[problem.problem_id] < wanted]
    place = {problem.problem_id: i for i, problem in enumerate(problems)}
    return sorted(kept, key=lambda trajectory: (place[trajectory.problem_id], trajectory.sample_index))


def first_verified(trajectories: Sequence[Trajectory]) -> dict[str, Trajectory]:
    """The verified trajectory with the lowest sample index, by problem."""
    found: dict[str, Trajectory] = {}
    for trajectory in sorted(trajectories, key=lambda t: t.sample_index):
        if trajectory.verified:
            found.setdefault(trajectory.problem_id, trajectory)
    return found


def tokens_of(trajectories: Sequence[Trajectory]) -> int:
    """Of their responses."""
    return sum(len(trajectory.response_token_ids) for trajectory in trajectories)
