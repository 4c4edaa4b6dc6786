"""The control `resample`, and methods that learn from another policy's demonstrations."""

from collections.abc import Sequence

from npo_pipeline.configuration.settings import DemonstrationsConfig
from npo_pipeline.grpo.mixing import form_group
from npo_pipeline.guidance.generate import sample_until_verified
from npo_pipeline.guidance.methods.demonstrations import DemonstrationMixer
from npo_pipeline.guidance.methods.resample import ResampleConfig, ResampleMixer
from npo_pipeline.records import Draw, Group, GuideTrajectory, Problem, Trajectory


def problem(name: str) -> Problem:
    return Problem(name, "train", name, name, "all", name, (1,))


def trajectory(name: str, index: int, right: bool) -> Trajectory:
    return Trajectory(name, index, (1,), (7, 8), (-0.5, -0.1), float(right), right, "stop", "")


def group(name: str, right: int, of: int = 4) -> Group:
    return form_group(problem(name), [trajectory(name, i, i < right) for i in range(of)])


class LivePolicy:
    """Solves "easy" from its second try on, or a later one, "hard" never; remembers what it was asked."""

    def __init__(self, solves_from: int = 1) -> None:
        self.solves_from = solves_from
        self.asked: list[tuple[int, str, int]] = []

    def __call__(self, step: int, draws: Sequence[Draw]) -> list[Trajectory]:
        self.asked += [(step, asked.problem_id, i) for asked, i in draws]
        return [trajectory(asked.problem_id, i, asked.problem_id == "easy" and i >= self.solves_from) for asked, i in draws]


def test_the_live_policy_tries_gated_prompts_again_until_it_solves_them():
    live = LivePolicy()
    mixer = ResampleMixer(ResampleConfig(samples=3, from_step=2, to_step=9), 0.6, live)
    groups = [group("easy", 0), group("hard", 1), group("solved", 3)]
    mixed = mixer.mix(5, groups)
    assert live.asked == [(5, "easy", 0), (5, "hard", 0), (5, "easy", 1), (5, "hard", 1), (5, "hard", 2)]
    assert mixed.sampled_tokens == 5 * 2
    last = mixed.groups[0].slots[-1]
    assert (last.source, last.guide_step, last.ratio, last.trajectory.sample_index) == ("guide", 5, "policy", 1)
    assert mixed.groups[0].accuracy == 0.0  # what was sampled again is not the group's own
    assert list(mixed.groups[1:]) == groups[1:]


def test_the_first_success_of_a_round_takes_the_slot():
    groups = [group("easy", 0)]
    mixed = ResampleMixer(ResampleConfig(samples=8, from_step=0, to_step=9), 0.6, LivePolicy(solves_from=2)).mix(5, groups)
    assert (mixed.sampled_tokens, mixed.groups[0].slots[-1].trajectory.sample_index) == (4 * 2, 2)  # both of the third round were right


def test_outside_its_steps_nothing_is_sampled():
    live = LivePolicy()
    mixer = ResampleMixer(ResampleConfig(samples=3, from_step=2, to_step=9), 0.6, live)
    groups = [group("easy", 0)]
    assert [mixer.mix(step, groups).groups for step in (1, 9)] == [groups, groups]
    assert live.asked == []


def test_a_prompt_is_tried_until_as_many_are_verified_as_wanted():
    def solve(draws: Sequence[Draw]) -> list[Trajectory]:
        return [trajectory(asked.problem_id, i, i % 2 == 1) for asked, i in draws]

    assert len(sample_until_verified([problem("a")], 9, solve)) == 2
    assert len(sample_until_verified([problem("a")], 9, solve, wanted=2)) == 4
    assert len(sample_until_verified([problem("a")], 3, solve, wanted=2)) == 3


def demonstrations(place: str, ratio: str, wanted: int) -> DemonstrationsConfig:
    return DemonstrationsConfig("teacher", 4, wanted, 1.0, 1.0, place, ratio)


def test_luffy_replaces_one_slot_and_says_how_its_ratio_enters():
    found = {"a": [GuideTrajectory(trajectory("a", 0, True), None)]}
    mixer = DemonstrationMixer(demonstrations("replace", "shaped", 1), 0.99, found)
    groups = [group("a", 1), group("b", 1), group("a", 4)]
    mixed = mixer.mix(0, groups).groups
    assert [slot.source for slot in mixed[0].slots] == ["on_policy"] * 3 + ["guide"]
    assert (mixed[0].slots[-1].ratio, mixed[0].slots[-1].guide_step) == ("shaped", None)
    assert list(mixed[1:]) == groups[1:]


def test_rlep_appends_two():
    found = {"a": [GuideTrajectory(trajectory("a", i, True), 40) for i in range(2)]}
    mixed = DemonstrationMixer(demonstrations("append", "policy", 2), 0.99, found).mix(0, [group("a", 0)]).groups[0]
    assert [(slot.source, slot.guide_step, slot.ratio) for slot in mixed.slots[4:]] == [("guide", 40, "policy")] * 2
    assert len(mixed.slots) == 6
