"""Live AutoNPO on signals with known right answers, and that it looks neither ahead nor forgets."""

import json
import math
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from npo_pipeline.configuration.settings import AutoNpoConfig, VarianceConfig
from npo_pipeline.grpo.mixing import form_group
from npo_pipeline.guidance.methods.online import Method, OnlineConfig, OnlineMixer
from npo_pipeline.records import Group, GuideTrajectory, Problem, Trajectory
from npo_pipeline.storage.parquet import rollout_row
from npo_pipeline.storage.run_files import RunFiles

TRIGGER = AutoNpoConfig(ema=0.5, patience=10, min_gain=0.01, entropy_drop=0.05, min_coverage=0.2, cooldown=5)
METHOD = Method(kind="online", gate=0.6, correction=False, autonpo=TRIGGER, online=OnlineConfig(min_prompts=4, max_steps=60))
GUIDES = (20, 40, 60, 80)
STEPS, PER_STEP = 80, 4


def name_of(step: int, i: int) -> str:
    return f"{step}-{i}"


def trajectory(name: str, index: int, right: bool) -> Trajectory:
    return Trajectory(name, index, (1,), (7,), (-1.0,), float(right), right, "stop", "")


def failed_groups(step: int) -> list[Group]:
    names = [name_of(step, i) for i in range(PER_STEP)]
    return [form_group(Problem(n, "train", n, n, "all", n, (1,)), [trajectory(n, i, False) for i in range(2)]) for n in names]


def mixer(coverage: dict[int, int], drift: float = 0.0) -> OnlineMixer:
    """Guide g tried every prompt before it and solves the first `coverage[g]` of each step's four.

    `drift`: log pi_now - log pi_guide of every token of a guide that lies `distance` ahead is -drift * distance.
    """
    tried = {g: {name_of(step, i) for step in range(g) for i in range(PER_STEP)} for g in GUIDES}
    supply = {
        (g, name_of(step, i)): GuideTrajectory(trajectory(name_of(step, i), g, True), g)
        for g in GUIDES
        for step in range(g)
        for i in range(coverage.get(g, 0))
    }
    made = OnlineMixer(METHOD, VarianceConfig("exp_kl", 1.0), supply, tried, lambda found: ratios(made, found, drift))
    return made


def ratios(mixer: OnlineMixer, found: Sequence[Trajectory], drift: float) -> list[list[float]]:
    return [[drift * (mixer.watch.step - t.sample_index)] for t in found]


def run(mixer: OnlineMixer, rewards: Sequence[float], entropies: Sequence[float]) -> list[dict]:
    decisions = []
    for step, (reward, entropy) in enumerate(zip(rewards, entropies, strict=True)):
        made = mixer.observe(step, failed_groups(step), {"reward/mean": reward, "entropy": entropy})
        decisions += [{"step": step, **decision} for decision in made]
    return decisions


def falling(n: int) -> list[float]:
    return [2.0 * math.exp(-0.02 * i) for i in range(n)]


ALL = dict.fromkeys(GUIDES, 2)


def test_a_rising_reward_triggers_nothing():
    assert run(mixer(ALL), [i / 80 for i in range(80)], falling(80)) == []


def test_noise_triggers_nothing():
    noise = random.Random(0)
    rewards = [i / 80 + noise.gauss(0, 0.02) for i in range(80)]
    assert run(mixer(ALL), rewards, [1.0 + noise.gauss(0, 0.02) for _ in range(80)]) == []


def test_a_falling_reward_with_rising_entropy_triggers_nothing():
    assert run(mixer(ALL), [1 - i / 80 for i in range(80)], [1 + i / 80 for i in range(80)]) == []


PLATEAU = [min(i / 3, 1.0) for i in range(50)]


def test_a_plateau_triggers_once_and_lasts_until_the_guides_step():
    # Guide 40 covers three of four, the others two: with equal V it has the highest S, so the first warning takes it.
    decisions = run(mixer(ALL | {40: 3}), PLATEAU[:40], falling(40))
    assert len(decisions) == 1
    decision = decisions[0]
    assert decision["guide_step"] == 40
    assert (decision["from_step"], decision["to_step"]) == (decision["step"] + 1, 40)
    assert decision["chosen"] == 40 - decision["from_step"]
    assert len(decision["candidates"]) == len([g for g in GUIDES if g > decision["from_step"]])


def test_its_guide_goes_into_failed_groups_of_its_window_only():
    live = mixer(ALL | {40: 3})
    decision = run(live, PLATEAU[:30], falling(30))[0]
    inside = live.mix(decision["from_step"], failed_groups(decision["from_step"])).groups
    assert [group.slots[-1].guide_step for group in inside] == [40, 40, 40, None]
    assert live.mix(40, failed_groups(40)).groups == failed_groups(40)


def test_a_far_guide_of_higher_q_loses_when_its_variance_costs_more():
    covered = {20: 1, 40: 2, 60: 3, 80: 4}
    near, far = (run(mixer(covered, drift), PLATEAU[:32], falling(32))[0]["guide_step"] for drift in (0.05, 0.0))
    assert far == 80
    assert near == 40


def test_an_uncovered_mistake_pool_is_not_confirmed():
    decisions = run(mixer({}), PLATEAU, falling(50))
    assert decisions
    assert all(decision["chosen"] is None and not decision["confirmed"] for decision in decisions)
    assert "not confirmed" in decisions[0]["reason"]


def test_too_few_failed_prompts_are_no_evidence():
    live = mixer(ALL)
    for step in range(40):
        for decision in live.observe(step, [], {"reward/mean": 0.5, "entropy": falling(40)[step]}):
            assert all(candidate["s"] is None for candidate in decision["candidates"])
            assert decision["chosen"] is None


@pytest.mark.parametrize("end", [20, 27, 35])
def test_no_lookahead(end: int):
    whole = run(mixer(ALL), PLATEAU, falling(50))
    assert run(mixer(ALL), PLATEAU[:end], falling(50)[:end]) == [decision for decision in whole if decision["step"] < end]


@pytest.mark.parametrize("stop", [5, 28, 33, 45])
def test_a_resumed_run_takes_the_same_decisions(tmp_path: Path, stop: int):
    whole = mixer(ALL, drift=0.02)
    decisions = run(whole, PLATEAU, falling(50))
    files = RunFiles(tmp_path, "0" * 64)
    files.start(0)
    for step in range(stop):
        rows = [rollout_row(s, _facts(step, i), g.problem.prompt, None) for g in failed_groups(step) for i, s in enumerate(g.slots)]
        mine = [{k: v for k, v in decision.items() if k != "step"} for decision in decisions if decision["step"] == step]
        files.write_step(step, rows, mine, {"reward/mean": PLATEAU[step], "entropy": falling(50)[step]})
    resumed = mixer(ALL, drift=0.02)
    resumed.restore(tmp_path, stop)
    later = []
    for step in range(stop, 50):
        made = resumed.observe(step, failed_groups(step), {"reward/mean": PLATEAU[step], "entropy": falling(50)[step]})
        later += [{"step": step, **decision} for decision in made]
    assert json.dumps(later) == json.dumps([decision for decision in decisions if decision["step"] >= stop])
    assert resumed.window == whole.window


def _facts(step: int, slot: int) -> dict:
    return {"step": step, "slot": slot, "advantage": 0.0, "group_accuracy": 0.0, "trainer_logprobs": [-1.0]}
