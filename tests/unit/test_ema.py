"""The method npo_ema against policies whose tries are known beforehand: who is asked what, when, and for how many tokens."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from known_policies import Swapped, trajectory

from npo_pipeline.configuration.settings import VarianceConfig
from npo_pipeline.grpo.mixing import form_group
from npo_pipeline.guidance.methods.ema import EmaConfig, EmaMixer, Method
from npo_pipeline.records import Draw, Group, Problem, Trajectory

SETTINGS = EmaConfig(decay=0.9, extrapolate=None, tries=4, share=0.5, compared=0.5, window=10, certainty=0.7)


def group(name: str, right: int = 0, of: int = 4, length: int = 2) -> Group:
    problem = Problem(name, "train", name, name, "all", name, (1,))
    return form_group(problem, [trajectory(name, i, i < right, length) for i in range(of)])


class Known(Swapped):
    """Averaged and live policy solve these prompts at these tries. Writes down what each is asked, and in which order."""

    def __init__(self, average: dict[str, int], live: dict[str, int]) -> None:
        super().__init__()
        self.average, self.live = average, live
        self.asked: list[tuple[str, str, int]] = []

    def tries(self, step: int, draws: Sequence[Draw]) -> list[Trajectory]:
        assert self.inside
        self.asked += [("average", problem.problem_id, i) for problem, i in draws]
        return [trajectory(p.problem_id, i, i == self.average.get(p.problem_id), 3) for p, i in draws]

    def live_tries(self, step: int, draws: Sequence[Draw]) -> list[Trajectory]:
        assert not self.inside
        self.asked += [("live", problem.problem_id, i) for problem, i in draws]
        return [trajectory(p.problem_id, i, i == self.live.get(p.problem_id), 2) for p, i in draws]


def mixer(known: Known, gate: float = 0.0, correction: bool = False, **changes: object) -> EmaMixer:
    method = Method("ema", gate, correction, ema=replace(SETTINGS, **changes))
    return EmaMixer(method, VarianceConfig("exp_kl", 5.0), known)


GROUPS = [group("a"), group("b"), group("solved", right=1), group("c"), group("d")]


def test_until_it_leads_the_average_tries_no_more_than_the_comparison_needs() -> None:
    known = Known(average={"b": 0}, live={"a": 0})
    mixed = mixer(known).mix(3, GROUPS)
    assert known.asked == [("live", "a", 0), ("live", "b", 0), ("average", "a", 0), ("average", "b", 0)]
    assert known.swaps == 1
    assert mixed.sampled_tokens == 2 * 2 + 2 * 3
    assert [g.slots[-1].source for g in mixed.groups] == ["guide", "guide", "on_policy", "on_policy", "on_policy"]
    assert [len(g.slots) for g in mixed.groups] == [4] * 5
    assert mixed.groups[1].slots[-1].guide_step == 3
    assert {key: mixed.metrics[f"paired/{key}"] for key in ("prompts", "both", "won", "lost")} == {
        "prompts": 2, "both": 0, "won": 1, "lost": 1,
    }  # fmt: skip
    assert (mixed.metrics["average/coverage"], mixed.metrics["live/coverage"], mixed.metrics["average/leads"]) == (0.5, 0.5, 0)


def leading(known: Known, **changes: object) -> EmaMixer:
    """One that has seen the average solve what the live policy did not."""
    made = mixer(known, **changes)
    made.mix(0, [group("x"), group("y")])
    known.asked.clear()
    known.swaps = 0
    return made


def test_while_it_leads_all_gated_prompts_are_tried_in_rounds_within_one_swap() -> None:
    known = Known(average={"x": 0, "a": 0, "b": 1, "c": 3}, live={})
    mixed = leading(known, share=9.0).mix(3, GROUPS)
    rounds = [("average", name, i) for names, numbers in (("abcd", [0]), ("bcd", [1]), ("cd", [2, 3])) for name in names for i in numbers]
    assert known.asked == [("live", "a", 0), ("live", "b", 0), *rounds]
    assert known.swaps == 1
    assert [g.slots[-1].source for g in mixed.groups] == ["guide", "guide", "on_policy", "guide", "on_policy"]
    assert (mixed.metrics["average/tries"], mixed.metrics["average/verified"], mixed.metrics["average/leads"]) == (11, 3, 1)
    assert mixed.metrics["average/q"] == 0.75
    assert mixed.metrics["average/s"] == 0.75  # its log-probs are the live policy's, so V is 1


@pytest.mark.parametrize("share", [0.0001, 0.1, 0.25, 0.5, 1.0])
def test_tries_keep_to_their_share_of_the_steps_tokens(share: float) -> None:
    """A try is foreseen to take as many tokens as the gated groups' own samples did, 2; it takes 3, and so may take half more."""
    known = Known(average={"x": 0}, live={})
    mixed = leading(known, share=share).mix(3, GROUPS)
    assert mixed.sampled_tokens <= 1.5 * share * 5 * 4 * 2
    assert share > 0.0001 or known.asked == []


def test_the_averages_success_goes_before_the_live_policys() -> None:
    known = Known(average={"a": 0}, live={"a": 0})
    mixed = mixer(known, compared=1.0).mix(0, [group("a")])
    assert len(mixed.groups[0].slots[-1].trajectory.response_token_ids) == 3
    assert mixed.metrics["paired/both"] == 1


def test_a_step_without_gated_groups_asks_nobody() -> None:
    known = Known(average={}, live={})
    mixed = mixer(known).mix(0, [group("a", right=1)])
    assert (known.asked, known.swaps, mixed.sampled_tokens) == ([], 0, 0)
    assert mixed.groups == [group("a", right=1)]


@pytest.mark.parametrize(("correction", "ratio"), [(False, "policy"), (True, "recorded")])
def test_how_the_guides_ratio_enters(correction: bool, ratio: str) -> None:
    mixed = mixer(Known({"a": 0}, {}), gate=0.3, correction=correction).mix(0, [group("a", right=1)])
    assert mixed.groups[0].slots[-1].ratio == ratio


def test_the_average_takes_the_weights_after_each_update() -> None:
    known = Known({}, {})
    made = mixer(known)
    for step in range(3):
        made.observe(step, [], {})
    assert known.seen == [0, 1, 2]


def test_a_resumed_run_comes_to_the_same_record(tmp_path: Path) -> None:
    whole = mixer(Known(average={"a": 0, "c": 0}, live={"b": 0}), window=4)
    lines = [whole.mix(step, GROUPS if step % 3 else GROUPS[2:]).metrics for step in range(7)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps({"step": i, **line}) + "\n" for i, line in enumerate(lines)))
    resumed = mixer(Known({}, {}), window=4)
    resumed.restore(tmp_path, 7)
    assert resumed.lead.total == whole.lead.total
    assert resumed.lead.leads == whole.lead.leads
    fresh = mixer(Known({}, {}), window=4)
    fresh.restore(tmp_path / "nowhere", 0)
    assert fresh.lead.total.prompts == 0
