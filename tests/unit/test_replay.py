"""ExGRPO's replay: what is kept, what is drawn, when it starts, and that a resumed run comes to the same buffer."""

import json
from collections import Counter
from pathlib import Path

import numpy as np

from npo_pipeline.grpo.mixing import form_group
from npo_pipeline.guidance.methods.replay import ReplayConfig, ReplayMixer, draw
from npo_pipeline.records import Group, Problem, Trajectory
from npo_pipeline.storage.parquet import rollout_row
from npo_pipeline.storage.run_files import RunFiles

PROBLEMS = {name: Problem(name, "train", name, name, "all", name, (1,)) for name in "abcdefgh"}


def trajectory(name: str, index: int, right: bool) -> Trajectory:
    return Trajectory(name, index, (1,), (index, 8), (-0.5, -0.25), float(right), right, "stop", "")


def group(name: str, right: int) -> Group:
    return form_group(PROBLEMS[name], [trajectory(name, i, i < right) for i in range(4)])


def mixer(**changes: float) -> ReplayMixer:
    settings = ReplayConfig(**{"start_accuracy": 0.35, "share": 0.5, "keep": 2} | changes)  # type: ignore[arg-type]
    return ReplayMixer(settings, 0.99, 4, 0, PROBLEMS, lambda stored: [float(t.response_token_ids[0]) for t in stored])


def test_replay_waits_for_the_accuracy_and_then_takes_its_share():
    replay, batch = mixer(), [PROBLEMS[name] for name in "efgh"]
    replay.observe(0, [group("a", 1), group("b", 2), group("c", 3)], {"accuracy": 0.34})
    assert list(replay.batch(1, batch)) == batch
    replay.observe(1, [], {"accuracy": 0.35})
    replay.observe(2, [], {"accuracy": 0.0})  # once started it stays so
    found = [problem.problem_id for problem in replay.batch(3, batch)]
    assert found[:2] == ["e", "f"]
    assert len(set(found[2:]) & set("abc")) == 2


def test_only_partly_solved_prompts_are_kept_and_solved_ones_retire():
    replay = mixer()
    replay.observe(0, [group("a", 0), group("b", 4), group("c", 2), group("d", 3)], {"accuracy": 0.5})
    assert {name: kept.latest for name, kept in replay.buffer.items()} == {"c": 2, "d": 3}
    replay.observe(1, [group("c", 4), group("d", 0)], {"accuracy": 0.5})
    assert {name: kept.latest for name, kept in replay.buffer.items()} == {"d": 0}
    assert [guide.guide_step for guide in replay.buffer["d"].trajectories] == [0, 0]  # the last `keep` of three


def test_the_lowest_entropy_takes_the_slot_with_a_shaped_recorded_ratio():
    replay = mixer(keep=8)
    replay.observe(0, [group("a", 3)], {"accuracy": 1.0})
    replay.batch(1, [PROBLEMS[name] for name in "efgh"])
    fresh, other = group("a", 1), group("e", 1)
    mixed = replay.mix(1, [fresh, other]).groups
    slot = mixed[0].slots[-1]
    assert (slot.source, slot.guide_step, slot.ratio, slot.trajectory.response_token_ids) == ("guide", 0, "shaped_recorded", (0, 8))
    assert (mixed[0].accuracy, mixed[1]) == (0.25, other)


def test_a_problem_of_the_step_is_not_replayed_beside_itself():
    replay = mixer()
    replay.observe(0, [group("e", 1), group("f", 1)], {"accuracy": 1.0})
    batch = [PROBLEMS[name] for name in "efgh"]
    assert list(replay.batch(1, batch)) == batch


def test_buckets_are_drawn_with_the_weights_of_the_normal_curve():
    buckets = {f"{k}-{i}": k for k in (1, 2, 3) for i in range(50)}
    counts = Counter(int(draw(buckets, 1, 4, np.random.default_rng(seed))[0][0]) for seed in range(3000))
    weights = {k: np.exp(-((k - 2) ** 2) / 2) for k in (1, 2, 3)}
    for k, weight in weights.items():
        assert abs(counts[k] / 3000 - weight / sum(weights.values())) < 0.03


def test_what_is_drawn_is_different_and_ends_with_the_buffer():
    drawn = draw({"a": 1, "b": 2, "c": 2}, 9, 4, np.random.default_rng(0))
    assert sorted(drawn) == ["a", "b", "c"]


def test_a_resumed_run_has_the_buffer_of_one_that_was_not_stopped(tmp_path: Path):
    whole, files = mixer(), RunFiles(tmp_path, "0" * 64)
    files.start(0)
    for step, groups in enumerate([[group("a", 1), group("b", 3)], [group("a", 2), group("c", 4)], [group("b", 0)]]):
        if step == 1:
            whole.replayed = ["a"]
            groups = list(whole.mix(step, groups).groups)
        metrics = {"accuracy": 0.4 * step}
        whole.observe(step, groups, metrics)
        rows = [rollout_row(slot, _facts(step, i, g.accuracy), g.problem.prompt, None) for g in groups for i, slot in enumerate(g.slots)]
        files.write_step(step, rows, [], metrics)
    resumed = mixer()
    resumed.restore(tmp_path, 3)
    assert json.dumps(resumed.buffer, default=vars) == json.dumps(whole.buffer, default=vars)
    assert resumed.started is whole.started is True


def _facts(step: int, slot: int, accuracy: float) -> dict:
    return {"step": step, "slot": slot, "advantage": 0.0, "group_accuracy": accuracy, "trainer_logprobs": [-0.5, -0.25]}
