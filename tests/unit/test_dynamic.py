"""Dynamic sampling: which groups make room, in which order problems stand in, and what a run keeps of it."""

import json
import os
import signal
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rank_scenarios import EvenLengths
from tiny import SAMPLING, grpo, tiny_policy

from npo_pipeline.configuration.settings import VerifierConfig
from npo_pipeline.distributed.ranks import Ranks
from npo_pipeline.errors import Interrupted
from npo_pipeline.grpo.dynamic import fill, teaches
from npo_pipeline.grpo.loop import RunLength, train
from npo_pipeline.grpo.mixer import OnPolicy
from npo_pipeline.grpo.mixing import form_group
from npo_pipeline.grpo.step import Trainer, run_step
from npo_pipeline.grpo.update import Updater
from npo_pipeline.records import Group, Problem, Trajectory
from npo_pipeline.rollout.hf import TransformersEngine
from npo_pipeline.rollout.order import further_problems
from npo_pipeline.storage.guides import read_outcomes
from npo_pipeline.storage.parquet import ROLLOUT, read_table
from npo_pipeline.storage.run_files import RunFiles

PROBLEMS = [Problem(f"p{i}", "train", "", "", "all", "", tuple(range(10, 12 + i))) for i in range(12)]


def group_of(problem: Problem, *rewards: int) -> Group:
    return form_group(problem, [Trajectory(problem.problem_id, i, (), (), (), r, r > 0, "stop", "") for i, r in enumerate(rewards)])


def outcome_of(problem: Problem) -> Group:
    """Only even problems teach."""
    return group_of(problem, 0, int(problem.problem_id[1:]) % 2 == 0)


def names(groups) -> list[str]:
    return [group.problem.problem_id for group in groups]


def test_by_hand() -> None:
    """Of p0 to p3 two teach; the first round brings p5 and p6, the second p7, the third p8."""
    first = list(map(outcome_of, PROBLEMS[:4]))
    asked = []

    def sampled(problems):
        asked.append([problem.problem_id for problem in problems])
        return list(map(outcome_of, problems))

    filled = fill(first, PROBLEMS[5:], 3, sampled)
    assert asked == [["p5", "p6"], ["p7"], ["p8"]]
    assert (names(filled.kept), names(filled.replaced)) == (["p0", "p2", "p6", "p8"], ["p1", "p3", "p5", "p7"])
    assert (names(filled.further), filled.rounds) == (["p5", "p6", "p7", "p8"], 3)
    short = fill(first, PROBLEMS[5:], 1, sampled)
    assert (names(short.kept), names(short.replaced)) == (["p0", "p1", "p2", "p6"], ["p3", "p5"])


@given(st.lists(st.booleans(), min_size=1, max_size=6), st.lists(st.booleans(), max_size=12), st.integers(1, 5))
def test_the_batch_keeps_its_size_and_nothing_is_lost(first: list[bool], later: list[bool], rounds: int) -> None:
    teaching = dict(zip((f"p{i}" for i in range(99)), [*first, *later], strict=False))
    sampled = lambda problems: [group_of(p, 0, int(teaching[p.problem_id])) for p in problems]  # noqa: E731
    problems = [Problem(f"p{i}", "train", "", "", "all", "", ()) for i in range(len(first) + len(later))]
    start = sampled(problems[: len(first)])
    filled = fill(start, problems[len(first) :], rounds, sampled)
    assert len(filled.kept) == len(first)
    assert sorted(names(filled.kept) + names(filled.replaced)) == sorted(names(start) + names(filled.further))
    assert not any(map(teaches, filled.replaced)), "what teaches is always trained on"
    complete = all(map(teaches, filled.kept))
    assert complete or filled.rounds == rounds or len(filled.further) == len(later)


def test_further_problems_are_all_others_in_an_order_of_seed_and_step() -> None:
    batch, key = PROBLEMS[2:5], lambda problem: problem.problem_id
    found = further_problems(PROBLEMS, batch, 0, 3, key)
    assert set(map(key, found)) == set(map(key, PROBLEMS)) - set(map(key, batch))
    assert found == further_problems(PROBLEMS, batch, 0, 3, key)
    orders = [further_problems(PROBLEMS, batch, seed, step, key) for seed, step in ((0, 3), (1, 3), (0, 4))]
    assert orders[0] not in orders[1:]
    others = further_problems(PROBLEMS, PROBLEMS[4:6], 0, 3, key)
    assert [p for p in others if p in found] == [p for p in found if p in others], "another batch changes no one's place"


def trainer_of(rounds: int | None, mixer=None) -> Trainer:
    policy = tiny_policy()
    settings = grpo(prompts_per_step=5, group_size=2, dynamic_sampling=rounds, lr_schedule="cosine", warmup_steps=1)
    updater = Updater(policy, settings, SAMPLING)
    updater.optimizer.run_steps = 4
    engine, verifier = TransformersEngine(policy, SAMPLING, 8), EvenLengths(VerifierConfig("exact", "whole", 1.0))
    return Trainer(policy, engine, verifier, updater, PROBLEMS, settings, 0, mixer or OnPolicy(), Ranks())


def test_a_step_counts_all_tokens_and_the_own_groups_rewards() -> None:
    plain, dynamic = run_step(trainer_of(None), 0, ""), run_step(trainer_of(2), 0, "")
    assert dynamic.metrics["dynamic/groups"] > 0
    assert len(dynamic.rows) == len(plain.rows) + 2 * dynamic.metrics["dynamic/groups"]
    for key in ("reward/mean", "accuracy", "groups/all_wrong", "groups/all_right"):
        assert dynamic.metrics[key] == plain.metrics[key]
    assert dynamic.metrics["completions/tokens"] == sum(len(row["response_token_ids"]) for row in dynamic.rows)
    assert not [key for key in plain.metrics if key.startswith("dynamic/")]
    trained = [row for row in dynamic.rows if row["trainer_logprobs"] is not None]
    assert len(trained) == 10
    assert all(row["advantage"] == 0.0 for row in dynamic.rows if row["trainer_logprobs"] is None)
    assert len({(row["problem_id"], row["slot"]) for row in dynamic.rows}) == len(dynamic.rows)


class StopAt(OnPolicy):
    """Asks the run to end in the middle, once, as a signal would."""

    def __init__(self, at: int) -> None:
        self.at = at

    def observe(self, step, groups, metrics):
        if step == self.at:
            os.kill(os.getpid(), signal.SIGTERM)
        return []


def run(folder: Path, mixer=None) -> Trainer:
    trainer = trainer_of(2, mixer)
    train(trainer, RunFiles(folder, "", {}), RunLength(4, 2, 50, 1), "run", "this one")
    return trainer


def test_a_stopped_and_resumed_run_leaves_the_same_files(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole")
    with pytest.raises(Interrupted):
        run(tmp_path / "stopped", StopAt(1))
    resumed = run(tmp_path / "stopped")
    for name, tensor in whole.policy.model.state_dict().items():
        assert torch.equal(tensor, resumed.policy.model.state_dict()[name]), name
    for place in ("metrics.jsonl", *(f"rollouts/step-{step:06d}.parquet" for step in range(4))):
        assert (tmp_path / "whole" / place).read_bytes() == (tmp_path / "stopped" / place).read_bytes(), place
    rates = [json.loads(line)["learning_rate"] for line in (tmp_path / "whole/metrics.jsonl").read_text().splitlines()]
    assert rates == pytest.approx([1e-3, 1e-3, 0.5e-3, 0.0])
    sampled = {row["problem_id"] for row in read_table(tmp_path / "whole/rollouts/step-000000.parquet", ROLLOUT).to_pylist()}
    assert {outcome.problem_id for outcome in read_outcomes(tmp_path / "whole", 0, 1)} == sampled, "the mistake pool sees all of them"
