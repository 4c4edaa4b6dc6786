"""What each stage of an experiment used: sampled tokens, wall-clock hours, GPU-hours and CPU-hours, over all seeds."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from npo_pipeline.analysis import numbers
from npo_pipeline.analysis.costs import demonstration_spend, guide_hours, guide_spend, response_tokens, run_hours, run_spend
from npo_pipeline.analysis.results import GRPO, Results, SeedResults, policy_label
from npo_pipeline.errors import ArtifactError
from npo_pipeline.storage.layout import Layout
from npo_pipeline.storage.spent import Hours, place, read_hours

HEADER = ["stage", "sampled tokens", "wall-clock", "GPU-hours", "CPU-hours", "on"]


@dataclass(frozen=True)
class Used:
    """Of one stage, over all seeds; None where it is not on record for each of them."""

    stage: str
    tokens: float | None
    hours: Hours | None


def spending(layout: Layout, results: Results) -> list[Used]:
    """In the order of the pipeline; [] where no hours are on record at all, as in results of earlier versions."""
    seeds = [(replace(layout, seed=seed.seed), seed) for seed in results.seeds]
    found = [Used("prepare", 0.0, read_hours(place(layout.root, None, "prepare")))]
    found.append(_used("probe", seeds, lambda own, seed: run_spend(seed.runs[GRPO]).tokens, lambda own: [run_hours(own, GRPO)]))
    for round_name in dict.fromkeys(["", *(name.rpartition("/")[0] for name in results.methods)]):
        found += _round(seeds, results, round_name)
    found.append(_used("evaluate", seeds, _evaluated_tokens, lambda own: [_evaluated_hours(own, policy) for policy in _evaluated(results)]))
    return found if any(used.hours for used in found) else []


Seeds = list[tuple[Layout, SeedResults]]


def _round(seeds: Seeds, results: Results, round_name: str) -> list[Used]:
    """Guides, demonstrations and runs of a round of methods; what was not made is left out."""
    found = []
    own_round = [(replace(layout, round=round_name), seed) for layout, seed in seeds]
    if all(layout.guide.is_dir() for layout, _ in own_round):
        stage = f"{round_name}/guide" if round_name else "guide"
        found.append(_used(stage, own_round, lambda own, _: guide_spend(own).tokens, lambda own: [guide_hours(own)]))
    for name in (name for name in results.methods if name.rpartition("/")[0] == round_name):
        found += _method(seeds, name)
    return found


def _method(seeds: Seeds, name: str) -> list[Used]:
    found = []
    if all(layout.demonstrations(name).is_dir() for layout, _ in seeds):
        hours = lambda own: [read_hours(place(own.root, own.seed, f"demonstrate-{name}"))]  # noqa: E731
        found.append(_used(f"{name}: demonstrations", seeds, lambda own, _: demonstration_spend(own, name).tokens, hours))
    return [*found, _used(policy_label(name), seeds, lambda _, seed: run_spend(seed.runs[name]).tokens, lambda own: [run_hours(own, name)])]


def _used(
    stage: str, seeds: Seeds, tokens: Callable[[Layout, SeedResults], float | None], hours: Callable[[Layout], Iterable[Hours | None]]
) -> Used:
    try:
        counts = [tokens(layout, seed) for layout, seed in seeds]
    except ArtifactError:  # a report does without
        counts = [None]
    return Used(stage, _total(counts), _together(one for layout, _ in seeds for one in hours(layout)))


def _total(counts: Iterable[float | None]) -> float | None:
    found = list(counts)
    return None if None in found else float(sum(count for count in found if count is not None))


def _together(found: Iterable[Hours | None]) -> Hours | None:
    """The sum; None where one is unknown, or there are none."""
    every = list(found)
    known = [hours for hours in every if hours]
    if not known or len(known) < len(every):
        return None
    devices = ", ".join(dict.fromkeys(hours.device for hours in known))
    return Hours(sum(h.wall for h in known), sum(h.gpu for h in known), sum(h.cpu for h in known), devices)


def _evaluated(results: Results) -> list[str]:
    return [*results.policies, *results.averages]


def _evaluated_tokens(layout: Layout, seed: SeedResults) -> float:
    return response_tokens([layout.evaluation_samples(policy) for policy in seed.evaluations])


def _evaluated_hours(layout: Layout, policy: str) -> Hours | None:
    return read_hours(place(layout.root, layout.seed, f"evaluate-{policy}"))


def spending_rows(found: list[Used]) -> tuple[list[str], list[list[str]]] | None:
    """Header and cells as text, with a total of what is known; None where nothing is."""
    if not found:
        return None
    known = [used for used in found if used.hours]
    total = Used("total" if len(known) == len(found) else "total of what is on record", _total(u.tokens for u in found), None)
    rows = [_row(used) for used in found]
    return HEADER, [*rows, _row(replace(total, hours=_together(used.hours for used in known)))]


def _row(used: Used) -> list[str]:
    tokens, hours = numbers.count(used.tokens), used.hours
    if hours is None:
        return [used.stage, tokens, *[numbers.NOTHING] * 4]
    gpu = numbers.hours(hours.gpu) if hours.gpu else numbers.NOTHING
    return [used.stage, tokens, numbers.duration(hours.wall * 3600), gpu, numbers.hours(hours.cpu), hours.device]
