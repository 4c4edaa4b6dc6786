"""The method npo_within against policies whose samples are known beforehand, and against plain GRPO, whose steps it must not change."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from known_policies import Swapped, trajectory
from rank_scenarios import trainer_of

from npo_pipeline.configuration.compose import load_root
from npo_pipeline.configuration.settings import VarianceConfig
from npo_pipeline.distributed.ranks import Ranks
from npo_pipeline.errors import ConfigError
from npo_pipeline.grpo.mixing import form_group
from npo_pipeline.grpo.step import run_step
from npo_pipeline.guidance import live
from npo_pipeline.guidance.methods.within import Method, WithinConfig, WithinMixer
from npo_pipeline.records import Draw, Group, Problem, Trajectory
from npo_pipeline.storage.run_files import METRICS

SETTINGS = WithinConfig(decay=0.9, samples=2, compared=0.5, window=10, certainty=0.7)
VARIANCE = VarianceConfig("exp_kl", 5.0)
SIZE = 6  # of a group: samples 0 to 3 come first, 4 and 5 wait


def begun(name: str, right: int = 0) -> Group:
    problem = Problem(name, "train", name, name, "all", name, (1,))
    return form_group(problem, [trajectory(name, i, i < right) for i in range(SIZE - SETTINGS.samples)])


class Known(Swapped):
    """Averaged and live policy are right in these samples. Writes down what each is asked."""

    def __init__(self, average: set[tuple[str, int]], live: set[tuple[str, int]]) -> None:
        super().__init__()
        self.average, self.live = average, live
        self.asked: dict[str, list[tuple[str, int]]] = {"average": [], "live": []}

    def tries(self, step: int, draws: Sequence[Draw]) -> list[Trajectory]:
        assert self.inside
        return self._drawn("average", self.average, draws, 3)

    def own_samples(self, step: int, draws: Sequence[Draw]) -> list[Trajectory]:
        assert not self.inside
        return self._drawn("live", self.live, draws, 2)

    def _drawn(self, who: str, right: set[tuple[str, int]], draws: Sequence[Draw], length: int) -> list[Trajectory]:
        names = [(problem.problem_id, index) for problem, index in draws]
        self.asked[who] += names
        return [trajectory(name, index, (name, index) in right, length) for name, index in names]

    def live_tries(self, step: int, draws: Sequence[Draw]) -> list[Trajectory]:
        raise AssertionError("nothing is sampled beside the groups")


def mixer(known: Known, correction: bool = False, **changes: object) -> WithinMixer:
    method = Method("within", 0.0, correction, within=replace(SETTINGS, **changes))
    return WithinMixer(method, VARIANCE, known, SIZE)


GROUPS = [begun("a"), begun("solved", right=1), begun("b"), begun("c")]


def test_until_it_leads_every_failed_group_is_split_between_both() -> None:
    known = Known(average={("b", 4)}, live={("a", 5), ("solved", 4)})
    mixed = mixer(known).mix(3, GROUPS)
    assert known.asked == {
        "average": [("a", 4), ("b", 4), ("c", 4)],
        "live": [("a", 5), ("solved", 4), ("solved", 5), ("b", 5), ("c", 5)],
    }
    assert known.swaps == 1
    assert {key: mixed.metrics[f"paired/{key}"] for key in ("prompts", "both", "won", "lost")} == {
        "prompts": 3, "both": 0, "won": 1, "lost": 1,
    }  # fmt: skip


def leading(known: Known) -> WithinMixer:
    """One that has seen the average solve what the live policy did not."""
    made = mixer(known)
    made.mix(0, [begun("x"), begun("y")])
    known.asked, known.swaps = {"average": [], "live": []}, 0
    return made


def test_while_it_leads_it_finishes_all_but_the_compared_share() -> None:
    known = Known(average={("x", 4), ("a", 4), ("c", 5)}, live=set())
    mixed = leading(known).mix(3, GROUPS)
    assert known.asked == {
        "average": [("a", 4), ("b", 4), ("c", 4), ("c", 5)],
        "live": [("a", 5), ("solved", 4), ("solved", 5), ("b", 5)],
    }
    assert known.swaps == 1
    assert (mixed.metrics["average/leads"], mixed.metrics["average/tries"], mixed.metrics["average/verified"]) == (1, 4, 2)
    assert mixed.metrics["average/q"] == pytest.approx(2 / 3)


def test_groups_have_grpos_size_and_say_whose_each_sample_is() -> None:
    known = Known(average={("x", 4), ("a", 4), ("c", 5)}, live={("solved", 5)})
    mixed = leading(known).mix(3, GROUPS)
    sources = {g.problem.problem_id: [slot.source for slot in g.slots] for g in mixed.groups}
    assert {len(slots) for slots in sources.values()} == {SIZE}
    assert sources["solved"] == ["on_policy"] * 6
    assert sources["a"] == sources["b"] == ["on_policy"] * 5 + ["guide"]
    assert sources["c"] == ["on_policy"] * 4 + ["guide"] * 2
    assert [g.accuracy for g in mixed.groups] == [0.0, 2 / 6, 0.0, 0.0], "an average's success never counts as the policy's own"
    assert [slot.guide_step for slot in mixed.groups[3].slots] == [None] * 4 + [3] * 2


def test_all_that_is_sampled_is_counted_once() -> None:
    known = Known(average={("x", 4)}, live=set())
    mixed = leading(known).mix(3, GROUPS)
    assert mixed.sampled_tokens == 4 * 3
    assert sum(len(t.response_token_ids) for t in mixed.own) == 4 * 2
    before = sum(len(g.slots) for g in GROUPS)
    assert before + 4 + len(mixed.own) == SIZE * len(GROUPS) == sum(len(g.slots) for g in mixed.groups)


@pytest.mark.parametrize(("correction", "ratio"), [(False, "policy"), (True, "recorded")])
def test_how_the_averages_ratio_enters(correction: bool, ratio: str) -> None:
    mixed = mixer(Known({("a", 4)}, set()), correction=correction).mix(0, [begun("a")])
    assert [slot.ratio for slot in mixed.groups[0].slots if slot.source == "guide"] == [ratio]


def test_a_step_without_failed_groups_leaves_the_average_out() -> None:
    known = Known(set(), set())
    mixed = mixer(known).mix(0, [begun("a", right=1)])
    assert (known.asked["average"], known.swaps, mixed.sampled_tokens) == ([], 0, 0)


def test_a_resumed_run_comes_to_the_same_record(tmp_path: Path) -> None:
    whole = mixer(Known(average={("a", 4), ("c", 4)}, live={("b", 5)}), window=4)
    lines = [whole.mix(step, GROUPS if step % 3 else GROUPS[2:]).metrics for step in range(7)]
    (tmp_path / METRICS).write_text("".join(json.dumps({"step": i, **line}) + "\n" for i, line in enumerate(lines)))
    resumed = mixer(Known(set(), set()), window=4)
    resumed.restore(tmp_path, 7)
    assert (resumed.lead.total, resumed.lead.leads) == (whole.lead.total, whole.lead.leads)


def test_where_nothing_fails_it_is_grpo_to_the_bit() -> None:
    """Real steps of a tiny policy: the same samples in the same slots, and the same weights after the updates."""
    plain, within = trainer_of(Ranks()), trainer_of(Ranks())
    method = Method("within", -1.0, False, within=SETTINGS)  # no group is at or below this gate
    within.mixer = WithinMixer(method, VARIANCE, live.AveragedPolicy(within, 0.9, None), within.settings.group_size)
    for step in range(2):
        one, other = run_step(plain, step, ""), run_step(within, step, "")
        assert [row["response_token_ids"] for row in one.rows] == [row["response_token_ids"] for row in other.rows]
        assert one.metrics["completions/tokens"] == other.metrics["completions/tokens"]
    weights = zip(plain.policy.model.parameters(), within.policy.model.parameters(), strict=True)
    assert all((mine == theirs).all() for mine, theirs in weights)


def test_real_steps_say_what_was_sampled_by_whom() -> None:
    trainer = trainer_of(Ranks())
    size = trainer.settings.group_size
    method = Method("within", 1.0, False, within=replace(SETTINGS, certainty=0.5))  # every group is split, or finished by the average
    trainer.mixer = WithinMixer(method, VARIANCE, live.AveragedPolicy(trainer, 0.9, None), size)
    outcomes = [run_step(trainer, step, "") for step in range(4)]
    for outcome in outcomes:
        guides = [row for row in outcome.rows if row["source"] == "guide"]
        tokens = [len(row["response_token_ids"]) for row in outcome.rows]
        assert guides
        assert len(outcome.rows) == size * trainer.settings.prompts_per_step
        assert outcome.metrics["guide/injected"] == sum(row["verified"] for row in guides)
        assert outcome.metrics["guide/tokens"] == sum(len(row["response_token_ids"]) for row in guides)
        assert outcome.metrics["completions/tokens"] + outcome.metrics["guide/tokens"] == sum(tokens)
    assert sum(outcome.metrics["guide/injected"] for outcome in outcomes) > 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("method.npo_within.within.samples=1", r"method\.npo_within\.within\.samples=1: expected at least 2"),
        ("method.npo_within.within.samples=8", r"method\.npo_within\.within\.samples=8: expected less than the 8 samples of a group"),
        ("method.npo_within.within.compared=0", r"method\.npo_within\.within\.compared=0\.0: expected in \(0, 1\]"),
        ("method.npo_within.within.decay=1", r"method\.npo_within\.within\.decay=1\.0: expected in \[0, 1\)"),
        ("+method.npo_within.grpo.group_size=2", r"method\.npo_within\.within\.samples=2: expected less than the 2 samples"),
    ],
)
def test_settings_that_cannot_work_are_refused(words: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_root(overrides=f"method=[npo_within] {words}")
