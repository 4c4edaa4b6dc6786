"""What the openings of a report and of a comparison say alike."""

from npo_pipeline.analysis import numbers
from npo_pipeline.analysis.statistics import Interval


def best_of(name: str, count: int) -> str:
    """How a method is called that was chosen for its result: with the number of those that it was chosen from."""
    return name if count == 1 else f"the best of {count} methods, {name},"


def guidance_helped(found: Interval, where: str) -> str:
    """No more than the interval of a difference allows. Example: Guidance helped at the same 100 steps."""
    if not found.excludes_zero:
        return f"Whether guidance helped cannot be told from noise {where}"
    return f"Guidance {'helped' if found.value > 0 else 'hurt'} {where}"


def at_steps(own: int, grpo: int) -> str:
    """What two runs share, or do not: a method may be given more steps."""
    return f"at the same {numbers.count(own)} steps" if own == grpo else f"after {numbers.count(own)} steps, GRPO's {numbers.count(grpo)}"
