"""Difficulties brought together into few columns: the task groups of the comparison table."""

from collections.abc import Mapping, Sequence

from npo_pipeline.analysis.statistics import by_difficulty

MOST_GROUPS = 8  # the paper's table has eight benchmarks


def difficulty_groups(problem_ids: Sequence[str], difficulty: Mapping[str, str], most: int = MOST_GROUPS) -> dict[str, list[str]]:
    """Problem ids of each column. More than `most` difficulties become ranges of neighbours, of about equal numbers of problems.

    Example: difficulties 7 to 18 of equal size give "7", "8-9", "10", "11-12" and so on. Raises DataError.
    """
    groups = by_difficulty(problem_ids, difficulty)
    if len(groups) <= most:
        return groups
    labels = list(groups)
    places = _places([len(groups[label]) for label in labels], most)
    ranges = [[label for label, at in zip(labels, places, strict=True) if at == place] for place in sorted(set(places))]
    return {_label(members): [i for label in members for i in groups[label]] for members in ranges}


def _places(sizes: Sequence[int], most: int) -> list[int]:
    """The column of each difficulty: where its middle falls when all problems, in order, are cut into `most` equal parts."""
    total, before, places = sum(sizes), 0, []
    for size in sizes:
        places.append(int(most * (before + size / 2) / total))
        before += size
    return places


def _label(members: Sequence[str]) -> str:
    return members[0] if len(members) == 1 else f"{members[0]}-{members[-1]}"
