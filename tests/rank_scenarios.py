"""Updates that must come out the same from any number of processes: run in one by tests/unit, in many by torchrun as a script.

    python -m torch.distributed.run --nproc-per-node 2 tests/rank_scenarios.py OUT

Rank 0 writes OUT/<scenario>.safetensors with losses, gradient norms, what was measured, and the weights of every rank's policy.
"""

import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import save_file
from tiny import SAMPLING, grpo, random_slots, small_tiles, tiny_policy
from torch import Tensor
from vision import problems_of, tiny_vl_policy

from npo_pipeline.configuration.settings import GrpoConfig, LoraConfig, VarianceConfig, VerifierConfig
from npo_pipeline.distributed.group import joined
from npo_pipeline.distributed.ranks import Ranks
from npo_pipeline.grpo.mixer import OnPolicy
from npo_pipeline.grpo.state import load_state, save_state
from npo_pipeline.grpo.step import Trainer, run_step
from npo_pipeline.grpo.update import Updater, UpdateResult
from npo_pipeline.guidance import live
from npo_pipeline.guidance.averaged import AveragedMixer
from npo_pipeline.guidance.methods import ema as ema_method
from npo_pipeline.guidance.methods import within as within_method
from npo_pipeline.guidance.methods.resample import ResampleConfig, ResampleMixer
from npo_pipeline.policy.lora import add_lora
from npo_pipeline.policy.policy import Policy, save_policy
from npo_pipeline.policy.sharded import whole_tensor
from npo_pipeline.records import Problem, Slot, Trajectory
from npo_pipeline.rollout.hf import TransformersEngine
from npo_pipeline.tasks.judging.verify import Verdict, Verifier

ADVANTAGES = [1.3, -0.4, -0.4, -0.5, 0.9, 0.0, -0.9, 0.7, 0.0, 1.1, -0.2]
VARIANCE = VarianceConfig("exp_kl", 5.0)
Tensors = dict[str, Tensor]


def train(policy: Policy, slots: list[Slot], settings: GrpoConfig, ranks: Ranks, steps: int = 3, **options: object) -> Tensors:
    """Some updates of the policy, and all that can be seen of them."""
    updater = Updater(policy, settings, SAMPLING, ranks=ranks, **options)  # type: ignore[arg-type]
    results = [updater.update(slots, ADVANTAGES[: len(slots)], 0, step) for step in range(steps)]
    return seen(policy, results)


def seen(policy: Policy, results: list[UpdateResult]) -> Tensors:
    numbers = {
        "losses": [value for result in results for value in result.losses],
        "grad_norms": [value for result in results for value in result.grad_norms],
        "logprobs": [value for result in results for row in result.measured.logprobs for value in row],
        "entropy": [value for result in results for value in result.measured.entropy],
        "kl": [result.kl_sum for result in results],
        "counts": [float(count) for result in results for count in (result.tokens, result.clipped_tokens)],
    }
    weights = {f"weight.{name}": tensor.clone() for name, tensor in policy.model.state_dict().items()}
    return {name: torch.tensor(values) for name, values in numbers.items()} | weights


def text(ranks: Ranks) -> Tensors:
    """Rows of 1 to 12 tokens, more than there are ranks, in micro-batches of several sizes."""
    policy = tiny_policy()
    return train(policy, random_slots(policy, 11), grpo(micro_batch_tokens=60), ranks)


def tiles(ranks: Ranks) -> Tensors:
    """The output head in tiles of the vocabulary, with an entropy bonus, and activations computed again."""
    policy = tiny_policy()
    with small_tiles():
        return train(policy, random_slots(policy, 11), grpo(micro_batch_tokens=60, entropy_coef=0.02), ranks, recompute=True)


def one_row(ranks: Ranks) -> Tensors:
    """All ranks but one have nothing to train on; in the second update none has."""
    policy = tiny_policy()
    updater = Updater(policy, grpo(), SAMPLING, ranks=ranks)
    slots = random_slots(policy, 3)
    return seen(policy, [updater.update(slots, advantages, 0, 0) for advantages in ([0.0, 0.8, 0.0], [0.0, 0.0, 0.0])])


def epochs(ranks: Ranks) -> Tensors:
    """Two epochs of two minibatches, entropy bonus and KL term, constant length, engine correction."""
    policy, reference = tiny_policy(), tiny_policy(seed=1).model
    changes = {"epochs": 2, "minibatches": 2, "entropy_coef": 0.01, "kl_coef": 0.1, "aggregation": "constant", "micro_batch_tokens": 50}
    settings = grpo(engine_correction_cap=2.0, **changes)
    return train(policy, random_slots(policy, 11), settings, ranks, steps=2, reference=reference)


def recomputed(ranks: Ranks) -> Tensors:
    """The scenario `text` with activation checkpointing."""
    policy = tiny_policy()
    return train(policy, random_slots(policy, 11), grpo(micro_batch_tokens=60), ranks, recompute=True)


def bfloat16(ranks: Ranks) -> Tensors:
    policy = tiny_policy()
    policy.model.to(torch.bfloat16)
    return train(policy, random_slots(policy, 11), grpo(learning_rate=1e-4, micro_batch_tokens=60), ranks)


def lora(ranks: Ranks, dtype: torch.dtype = torch.float32) -> Tensors:
    policy = tiny_policy()
    with tempfile.TemporaryDirectory() as base:
        save_policy(policy, Path(base) / "policy")
        policy.model.to(dtype)
        add_lora(policy.model, LoraConfig(rank=4, alpha=8.0), Path(base) / "policy", 0)
    return train(policy, random_slots(policy, 11), grpo(learning_rate=1e-2, micro_batch_tokens=60), ranks)


def bfloat16_lora(ranks: Ranks) -> Tensors:
    """Adapters in float32 on a base in bfloat16."""
    return lora(ranks, torch.bfloat16)


def images(ranks: Ranks) -> Tensors:
    """Text and images mixed, a row a micro-batch: in some rounds one rank has images and another has none."""
    policy = tiny_vl_policy()
    with tempfile.TemporaryDirectory() as folder:
        problems = problems_of(policy, Path(folder))
        problems.append(problems[2])  # three are text: an odd number, so that two ranks meet with one of each
        slots = [_slot(problem.problem_id, i, problem.prompt_token_ids, problem.images) for i, problem in enumerate(problems)]
        return train(policy, slots, grpo(micro_batch_tokens=1), ranks)


def resumed(ranks: Ranks) -> Tensors:
    """The scenario `text`, stopped after two updates and gone on with from its saved state."""
    policy = tiny_policy()
    slots, settings = random_slots(policy, 11), grpo(micro_batch_tokens=60)
    with tempfile.TemporaryDirectory() as own:
        folder = Path(ranks.on_main(lambda: own))
        stopped = Updater(policy, settings, SAMPLING, ranks=ranks)
        first = [stopped.update(slots, ADVANTAGES, 0, step) for step in range(2)]
        save_state(folder, stopped.optimizer, 2, "this run", ranks)
        going = tiny_policy()
        updater = Updater(going, settings, SAMPLING, ranks=ranks)
        assert load_state(folder, updater.optimizer, "this run", 2, ranks) == 2
        updater.take_over()
        ranks.gather(None)  # all have read it
    return seen(going, [*first, updater.update(slots, ADVANTAGES, 0, 2)])


class EvenLengths(Verifier):
    """Right is what has an even number of characters: something that a policy that knows nothing finds half of the time."""

    def judge(self, items: Sequence[tuple[Problem, str]]) -> list[Verdict]:
        return [Verdict(float(len(text) % 2 == 0), len(text) % 2 == 0) for _, text in items]


def trainer_of(ranks: Ranks) -> Trainer:
    """Steps of five groups of three."""
    policy, settings, sampling = tiny_policy(), grpo(prompts_per_step=5, group_size=3), SAMPLING
    problems = [Problem(f"p{i}", "train", "", "", "all", "", tuple(range(10, 12 + i))) for i in range(10)]
    updater = Updater(policy, settings, sampling, ranks=ranks)
    engine, verifier = TransformersEngine(policy, sampling, 8), EvenLengths(VerifierConfig("exact", "whole", 1.0))
    return Trainer(policy, engine, verifier, updater, problems, settings, 0, OnPolicy(), ranks)


def steps(ranks: Ranks) -> Tensors:
    """Whole steps, five groups over the ranks: sampled, resampled, mixed, trained on, and scored as live methods ask for it."""
    trainer = trainer_of(ranks)
    policy = trainer.policy
    trainer.mixer = ResampleMixer(ResampleConfig(3, 0, 9), 0.6, partial(live.tries, trainer, "resample"))
    outcomes = [run_step(trainer, step, "") for step in range(2)]
    tried = [slot.trajectory for slot in random_slots(policy, 7)]
    rows = [row for outcome in outcomes for row in outcome.rows]
    numbers = {
        "tokens": [float(token) for row in rows for token in row["response_token_ids"]],
        "advantages": [row["advantage"] for row in rows],
        "logprobs": [value for row in rows for value in row["guide_logprobs"]],
        "metrics": [value for outcome in outcomes for value in outcome.metrics.values() if isinstance(value, int | float)],
        "log_ratios": [value for row in live.log_ratios(trainer, tried) for value in row],
        "entropies": live.entropies(trainer, tried),
    }
    assert sum(outcome.metrics["guide/injected"] for outcome in outcomes) > 0
    weights = {f"weight.{name}": tensor.clone() for name, tensor in policy.model.state_dict().items()}
    return {name: torch.tensor(values) for name, values in numbers.items()} | weights


def averaged(ranks: Ranks) -> Tensors:
    """Steps whose guides are the moving average's, stopped after two and gone on with from the saved state."""
    method = ema_method.Method("ema", 0.6, False, ema=ema_method.EmaConfig(0.8, None, 4, 2.0, 0.5, 9, 0.5))
    return _stopped_and_gone_on(ranks, lambda trainer, future: ema_method.EmaMixer(method, VARIANCE, future))


def within(ranks: Ranks) -> Tensors:
    """The same, where the average finishes groups."""
    method = within_method.Method("within", 0.6, False, within=within_method.WithinConfig(0.8, 2, 0.5, 9, 0.5))
    return _stopped_and_gone_on(
        ranks, lambda trainer, future: within_method.WithinMixer(method, VARIANCE, future, trainer.settings.group_size)
    )


def _stopped_and_gone_on(ranks: Ranks, mixer: Callable[[Trainer, live.AveragedPolicy], AveragedMixer]) -> Tensors:
    def begun() -> tuple[Trainer, live.AveragedPolicy]:
        trainer = trainer_of(ranks)
        future = live.AveragedPolicy(trainer, 0.8, None)
        trainer.mixer = mixer(trainer, future)
        return trainer, future

    stopped, _ = begun()
    outcomes = [run_step(stopped, step, "") for step in range(2)]
    with tempfile.TemporaryDirectory() as own:
        folder = Path(ranks.on_main(lambda: own))
        save_state(folder, stopped.updater.optimizer, 2, "this run", ranks)
        going, future = begun()
        assert load_state(folder, going.updater.optimizer, "this run", 2, ranks) == 2
        going.updater.take_over()
        going.mixer.lead = stopped.mixer.lead
        ranks.gather(None)  # all have read it
    outcomes += [run_step(going, step, "") for step in range(2, 4)]
    assert sum(outcome.metrics["average/verified"] for outcome in outcomes) > 0
    average = {f"average.{i}": whole_tensor(tensor).clone() for i, tensor in enumerate(future.average.tensors)}
    rows = [row for outcome in outcomes for row in outcome.rows]
    numbers = {
        "tokens": [float(token) for row in rows for token in row["response_token_ids"]],
        "logprobs": [value for row in rows for value in row["guide_logprobs"]],
        "metrics": [value for outcome in outcomes for value in outcome.metrics.values() if isinstance(value, int | float)],
    }
    weights = {f"weight.{name}": tensor.clone() for name, tensor in (going.policy.model.state_dict() | average).items()}
    return {name: torch.tensor(values) for name, values in numbers.items()} | weights


def dynamic(ranks: Ranks) -> Tensors:
    """Steps whose groups of equal rewards make room for further problems, fewer than ranks in the last round; a mean over tokens."""
    policy = tiny_policy()
    settings = grpo(prompts_per_step=5, group_size=2, dynamic_sampling=3, lr_schedule="cosine", aggregation="token", micro_batch_tokens=60)
    problems = [Problem(f"p{i}", "train", "", "", "all", "", tuple(range(10, 12 + i))) for i in range(12)]
    updater = Updater(policy, settings, SAMPLING, ranks=ranks)
    updater.optimizer.run_steps = 3
    engine, verifier = TransformersEngine(policy, SAMPLING, 8), EvenLengths(VerifierConfig("exact", "whole", 1.0))
    trainer = Trainer(policy, engine, verifier, updater, problems, settings, 0, OnPolicy(), ranks)
    outcomes = [run_step(trainer, step, "") for step in range(2)]
    assert sum(outcome.metrics["dynamic/groups"] for outcome in outcomes) > 0
    rows = [row for outcome in outcomes for row in outcome.rows]
    numbers = {
        "tokens": [float(token) for row in rows for token in row["response_token_ids"]],
        "advantages": [row["advantage"] for row in rows],
        "metrics": [value for outcome in outcomes for value in outcome.metrics.values() if isinstance(value, int | float)],
    }
    weights = {f"weight.{name}": tensor.clone() for name, tensor in policy.model.state_dict().items()}
    return {name: torch.tensor(values) for name, values in numbers.items()} | weights


def _slot(problem_id: str, number: int, prompt: tuple[int, ...], images: tuple) -> Slot:
    generator = torch.Generator().manual_seed(number)
    response = tuple(torch.randint(10, 290, (3 + number % 5,), generator=generator).tolist())
    return Slot(Trajectory(problem_id, 0, prompt, response, (-5.0,) * len(response), 0.0, False, "stop", "", images))


SCENARIOS: dict[str, Callable[[Ranks], Tensors]] = {
    scenario.__name__: scenario
    for scenario in (
        text,
        tiles,
        one_row,
        epochs,
        recomputed,
        bfloat16,
        lora,
        bfloat16_lora,
        images,
        resumed,
        steps,
        averaged,
        within,
        dynamic,
    )
}

if __name__ == "__main__":
    torch.set_num_threads(1)
    with joined(60) as ranks:
        for name, scenario in SCENARIOS.items():
            found = scenario(ranks)
            policies = ranks.gather({key: value for key, value in found.items() if key.startswith("weight.")})
            assert all(torch.equal(value, other[key]) for other in policies for key, value in policies[0].items()), name
            if ranks.main:
                save_file({key: value.clone() for key, value in found.items()}, f"{sys.argv[1]}/{name}.safetensors")
