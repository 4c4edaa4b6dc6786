"""Numbers that are not finite, and trajectories at the edge, on real tiny policies: what is skipped, counted, or stopped for."""

import json
import math
import os
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import SAMPLING, grpo, random_slots, tiny_policy
from torch import Tensor

from npo_pipeline.configuration.settings import AutoNpoConfig, VerifierConfig
from npo_pipeline.errors import Interrupted, NumericalError
from npo_pipeline.grpo.loop import RunLength, train
from npo_pipeline.grpo.metrics import step_metrics
from npo_pipeline.grpo.mixer import Mixed
from npo_pipeline.grpo.step import Trainer
from npo_pipeline.grpo.trouble import IN_A_ROW
from npo_pipeline.grpo.update import Updater, UpdateResult
from npo_pipeline.guidance.autonpo.triggers import Watch
from npo_pipeline.guidance.schedule import Schedule, Window
from npo_pipeline.guidance.scheduled import ScheduledMixer
from npo_pipeline.policy.identity import identity
from npo_pipeline.policy.policy import Policy
from npo_pipeline.records import Group, GuideTrajectory, Problem, Slot, Trajectory
from npo_pipeline.rollout.hf import TransformersEngine
from npo_pipeline.rollout.order import problem_batch
from npo_pipeline.storage.run_files import RunFiles
from npo_pipeline.tasks.judging.verify import Verifier

ADVANTAGES = [1.3, -0.4, -0.4, -0.5, 0.9, 0.0, -0.9, 0.7]
UNLIKELY = -1000.0  # a recorded log-prob that the trainer's own exceeds by so much that the ratio overflows
STEPS = 8


def insides(updater: Updater) -> dict[str, Tensor]:
    """Weights, moments and step counts."""
    tensors = updater.policy.model.state_dict() | updater.optimizer.state_tensors()
    return {name: tensor.clone() for name, tensor in tensors.items()}


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name].nan_to_num(9.0), b[name].nan_to_num(9.0)) for name in a)


def slots_of(policy: Policy, unlikely: Sequence[int] = ()) -> list[Slot]:
    """Eight slots whose ratio is against recorded log-probs; those of some are as good as impossible."""
    slots = random_slots(policy, 8)
    for i in unlikely:
        logprobs = (UNLIKELY,) * len(slots[i].trajectory.response_token_ids)
        slots[i] = replace(slots[i], trajectory=replace(slots[i].trajectory, behaviour_logprobs=logprobs))
    return slots


def metrics_of(slots: Sequence[Slot], result: UpdateResult) -> dict[str, Any]:
    group = Group(Problem("p", "train", "", "", "", "", ()), tuple(slots), 0.0, 0.0)
    return step_metrics([group], Mixed([group]), result)


def spoil(policy: Policy, value: float) -> None:
    with torch.no_grad():
        next(policy.model.parameters())[7, 3] = value


@pytest.mark.parametrize("trouble", ["gradient", "loss", "weight"])
def test_what_is_not_finite_is_skipped_and_counted_and_changes_no_bit(trouble: str) -> None:
    """In the middle of a run, so that there are moments to be kept."""
    policy = tiny_policy()
    updater = Updater(policy, grpo(), SAMPLING)
    updater.update(slots_of(policy), ADVANTAGES, 0, 0)
    if trouble == "weight":
        spoil(policy, math.nan)
    before = insides(updater)
    # Of positive advantage an unlikely token is clipped: a finite loss whose gradient is 0 x infinity. Of a negative one: an infinite loss.
    slots = slots_of(policy, {"gradient": [0], "loss": [1], "weight": []}[trouble])
    result = updater.update(slots, ADVANTAGES, 0, 1)
    assert equal(insides(updater), before)
    reason = {"gradient": "a gradient norm of nan", "loss": "a loss of inf", "weight": "log-probs that are not finite"}[trouble]
    assert result.skipped == [reason]
    metrics = metrics_of(slots, result)
    assert (metrics["update/skipped"], metrics["loss"], metrics["grad_norm"]) == (1, None, None)
    json.loads(json.dumps(metrics, allow_nan=False))


def test_of_several_optimizer_steps_only_the_bad_one_is_skipped() -> None:
    policy = tiny_policy()
    updater = Updater(policy, grpo(minibatches=2), SAMPLING)
    result = updater.update(slots_of(policy, [0]), ADVANTAGES, 0, 0)
    assert (len(result.losses), result.skipped) == (1, ["a gradient norm of nan"])
    assert all(parameter.grad is None for parameter in policy.model.parameters())


def test_weights_that_an_update_spoils_end_the_run_at_once() -> None:
    policy = tiny_policy()
    updater = Updater(policy, grpo(learning_rate=1e39), SAMPLING)  # a number, but too large for a float32
    with pytest.raises(NumericalError, match=r"step 3: the update left weights that are not finite \(learning rate 1e\+39, gradient norm"):
        updater.update(slots_of(policy), ADVANTAGES, 0, 3)


def test_a_gross_disagreement_of_log_probs_is_counted_and_overflows_nothing() -> None:
    """The loss does not hang on the engine's log-probs: the ratio of own samples is 1 by construction."""
    policy = tiny_policy()
    slots = [replace(slot, source="on_policy", ratio="policy") for slot in slots_of(policy, [0, 1])]
    result = Updater(policy, grpo(), SAMPLING).update(slots, ADVANTAGES, 0, 0)
    metrics = metrics_of(slots, result)
    pairs = zip(result.measured.logprobs, slots, strict=True)
    gaps = [a - b for row, slot in pairs for a, b in zip(row, slot.trajectory.behaviour_logprobs, strict=True)]
    assert metrics["logprob_gap/gross"] == sum(abs(gap) > 1.0 for gap in gaps) / len(gaps) > 0.1
    assert metrics["logprob_gap/max"] > 900
    assert metrics["update/skipped"] == 0


def with_response(slot: Slot, *tokens: int) -> Slot:
    return replace(slot, trajectory=replace(slot.trajectory, response_token_ids=tokens, behaviour_logprobs=(-0.5,) * len(tokens)))


@pytest.mark.parametrize("aggregation", ["response", "constant"])
@pytest.mark.parametrize("budget", [1, 10_000])
def test_a_response_without_tokens_weighs_nothing_beside_others(aggregation: str, budget: int) -> None:
    policies = [tiny_policy(), tiny_policy()]
    slots = slots_of(policies[0])
    slots[1] = with_response(slots[1])
    settings = grpo(aggregation=aggregation, micro_batch_tokens=budget)
    results = [
        Updater(policies[0], settings, SAMPLING).update(slots, ADVANTAGES, 0, 0),
        Updater(policies[1], settings, SAMPLING).update(slots, [ADVANTAGES[0], 0.0, *ADVANTAGES[2:]], 0, 0),
    ]
    assert results[0].skipped == []
    assert results[0].measured.logprobs[1] == []
    assert math.isclose(results[0].losses[0], results[1].losses[0], rel_tol=1e-6)
    for a, b in zip(policies[0].model.parameters(), policies[1].model.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


def test_a_batch_of_empty_responses_changes_nothing() -> None:
    policy = tiny_policy()
    updater = Updater(policy, grpo(), SAMPLING)
    before = identity(policy)
    slots = [with_response(slot) for slot in slots_of(policy)]
    metrics = metrics_of(slots, updater.update(slots, ADVANTAGES, 0, 0))
    assert identity(policy) == before
    assert (metrics["loss"], metrics["entropy"], metrics["completions/mean_length"], metrics["update/skipped"]) == (0.0, 0.0, 0.0, 0)


def test_only_an_end_or_the_full_length_are_responses_like_others() -> None:
    """Against the loss in float64, by hand: -A per response at ratio 1, whatever its length; the sum over 12 with constant length."""
    for aggregation, expected in (("response", -(2.0 - 1.0) / 8), ("constant", -(2.0 * 1 / 12 - 1.0 * 12 / 12) / 8)):
        policy = tiny_policy()
        slots = [replace(slot, ratio="policy") for slot in slots_of(policy)]
        slots[0] = with_response(slots[0], policy.stop_ids[0])
        slots[1] = with_response(slots[1], *range(5, 5 + SAMPLING.max_new_tokens))
        result = Updater(policy, grpo(aggregation=aggregation), SAMPLING).update(slots, [2.0, -1.0, *[0.0] * 6], 0, 0)
        assert math.isclose(result.losses[0], expected, rel_tol=1e-5)


def test_an_unknown_entropy_leaves_autonpos_average_as_it_was() -> None:
    settings = AutoNpoConfig(ema=0.5, patience=2, min_gain=0.01, entropy_drop=0.05, min_coverage=0.2, cooldown=5)
    watches = [Watch(settings), Watch(settings)]
    for entropy in (2.0, 1.5, None, 1.0):
        seen = watches[0].see(0.5, entropy)
        if entropy is not None:
            watches[1].see(0.5, entropy)
    assert seen is not None
    assert seen.warning
    assert watches[0]._entropy[-1] == watches[1]._entropy[-1]


class Signalled(ScheduledMixer):
    """A process that is asked to stop in the middle of a step."""

    def __init__(self, mixer: ScheduledMixer, at: int | None) -> None:
        super().__init__(mixer.schedule, mixer.supply)
        self.at = at

    def observe(self, step: int, groups: Sequence[Group], metrics: dict[str, Any]) -> list[dict[str, Any]]:
        if step == self.at:
            os.kill(os.getpid(), signal.SIGTERM)
        return []


PROBLEMS = [Problem(f"p{i}", "train", f"{i}", "no", "all", f"{i}", (5 + i, 9)) for i in range(8)]


def guide_of(i: int) -> GuideTrajectory:
    """Of problem i; as good as impossible, as it was recorded."""
    return GuideTrajectory(Trajectory(f"p{i}", 0, (5 + i, 9), (11, 12), (UNLIKELY,) * 2, 1.0, True, "stop", ""), STEPS)


def run(
    folder: Path, unlikely: Sequence[int], policy: Policy, bonus: float = 0.01, stop_at: int | None = None, save_every: int = 1
) -> None:
    """Two prompts a step, every reward 0 but that of a guide, which some problems have; an entropy bonus moves the rest."""
    window = Window(0, STEPS, STEPS, 0.6, correction=True)
    mixer = ScheduledMixer(Schedule("npo", [window]), {(STEPS, f"p{i}"): guide_of(i) for i in unlikely})
    settings = grpo(prompts_per_step=2, entropy_coef=bonus)
    with Verifier(VerifierConfig("exact", "whole", 5.0)) as verifier:
        updater, engine = Updater(policy, settings, SAMPLING), TransformersEngine(policy, SAMPLING, 64)
        trainer = Trainer(policy, engine, verifier, updater, PROBLEMS, settings, 0, Signalled(mixer, stop_at))
        train(trainer, RunFiles(folder, "sha"), RunLength(STEPS, 2, 2, save_every), "run", "this very run")


def contents(folder: Path) -> dict[str, bytes]:
    files = [file for file in folder.rglob("*") if file.is_file() and file.name != "timings.jsonl" and "state" not in file.parts]
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def logged(folder: Path, key: str) -> list[Any]:
    return [json.loads(line)[key] for line in (folder / "metrics.jsonl").read_text().splitlines()]


def steps_of(problem: str) -> list[int]:
    return [step for step in range(STEPS) if problem in [p.problem_id for p in problem_batch(PROBLEMS, 0, step, 2)]]


def test_a_run_goes_on_after_a_skipped_step_and_resumes_bit_identically(tmp_path: Path) -> None:
    """Stopped in the step that is skipped, where no state is saved, and right behind it."""
    run(tmp_path / "whole", [3], tiny_policy())
    skipped = steps_of("p3")
    assert [step for step, count in enumerate(logged(tmp_path / "whole", "update/skipped")) if count] == skipped
    assert len(skipped) == 2
    for at in (skipped[0], skipped[0] + 1):
        folder = tmp_path / f"stopped-{at}"
        where = "from the last saved state, as this step was skipped" if at in skipped else "there"
        with pytest.raises(Interrupted, match=f"by SIGTERM before step {at + 1}; the same command resumes {where}"):
            run(folder, [3], tiny_policy(), stop_at=at)
        assert (folder / f"state/step-{at + 1:06d}").exists() == (at not in skipped)
        run(folder, [3], tiny_policy())
        assert contents(folder) == contents(tmp_path / "whole")


def test_too_many_in_a_row_stop_the_run_and_keep_the_last_good_state(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All but the first step are bad. The same command comes to the same end; weights never moved."""
    bad = [i for i in range(8) if f"p{i}" not in [p.problem_id for p in problem_batch(PROBLEMS, 0, 0, 2)]]
    alone = [step for step in range(STEPS) if not any(step in steps_of(f"p{i}") for i in bad)]
    assert alone[:1] == [0]
    end = next(step for step in range(STEPS) if step >= IN_A_ROW and not set(alone) & set(range(step - IN_A_ROW + 1, step + 1)))
    for _ in range(2):
        with pytest.raises(
            NumericalError, match=f"run: steps {end - IN_A_ROW + 1} to {end} were skipped one after the other, the last for"
        ):
            run(tmp_path, bad, tiny_policy())
        assert not [state for state in (tmp_path / "state").iterdir() if int(state.name[5:]) > end - IN_A_ROW + 1]
        assert logged(tmp_path, "update/skipped")[-IN_A_ROW:] == [1] * IN_A_ROW
    assert f"run: resuming from step {end - IN_A_ROW + 1}" in capsys.readouterr().err


def test_a_policy_with_a_spoilt_weight_stops_though_nothing_is_to_be_learned(tmp_path: Path) -> None:
    policy = tiny_policy()
    spoil(policy, math.inf)
    with pytest.raises(NumericalError, match=f"steps 0 to {IN_A_ROW - 1} were skipped .* the last for log-probs that are not finite"):
        run(tmp_path, [], policy, bonus=0.0)
    assert logged(tmp_path, "entropy") == [None] * IN_A_ROW


def test_a_state_is_saved_where_steps_take_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """At 8B a step takes the better part of an hour, and a kill must not cost ten of them."""
    run(tmp_path / "quick", [], tiny_policy(), save_every=100)
    assert not (tmp_path / "quick/state").exists()
    monkeypatch.setattr("npo_pipeline.grpo.loop.LONGEST_UNSAVED", 0.0)
    run(tmp_path / "slow", [], tiny_policy(), save_every=100)
    assert sorted(state.name for state in (tmp_path / "slow/state").iterdir()) == [f"step-{STEPS - 2:06d}", f"step-{STEPS - 1:06d}"]
