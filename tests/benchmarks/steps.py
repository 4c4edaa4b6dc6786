"""One GRPO step of this project, and one of TRL's GRPOTrainer, on the same policy, problems, rewards and lengths of responses."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from datasets import Dataset
from lengths import LengthLaw
from transformers import LogitsProcessorList, PrinterCallback, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from npo_pipeline.configuration.settings import GrpoConfig, SamplingConfig
from npo_pipeline.grpo.mixer import OnPolicy
from npo_pipeline.grpo.step import Trainer, run_step
from npo_pipeline.grpo.update import Updater
from npo_pipeline.policy.identity import identity
from npo_pipeline.policy.policy import load_policy
from npo_pipeline.records import Problem
from npo_pipeline.rollout.hf import TransformersEngine
from npo_pipeline.rollout.order import problem_batch
from npo_pipeline.storage.run_files import RunFiles
from npo_pipeline.tasks.judging.verify import Verdict


class Judge(Protocol):
    """Of a response's text: the project's own Verifier, or one that rewards what a random policy can do."""

    def judge(self, items: Sequence[tuple[Problem, str]]) -> list[Verdict]: ...


class SomeCharacters:
    """Rewards the share of vowels and odd digits: hardly two responses are rewarded alike, so none is spared its backward."""

    def judge(self, items: Sequence[tuple[Problem, str]]) -> list[Verdict]:
        shares = [sum(map(text.count, "aeiou13579")) / max(1, len(text)) for _, text in items]
        return [Verdict(share, share > 0.5) for share in shares]


@dataclass
class Case:
    """What both trainers are given."""

    policy: Path
    dtype: str
    problems: Sequence[Problem]
    judge: Judge
    grpo: GrpoConfig
    sampling: SamplingConfig
    shares: Sequence[float] | None  # of lengths; None: as the policy ends them itself
    max_batch: int
    steps: int  # that will be asked for
    trl: dict[str, Any] = field(default_factory=dict)  # arguments that tune TRL's trainer
    seed: int = 0  # of the problems' order and of the samples

    def batch(self, step: int) -> list[Problem]:
        return problem_batch(self.problems, self.seed, step, self.grpo.prompts_per_step)


class Ours:
    """A step as the probe makes it: roll-outs, metrics and the policy's hash included; TRL's trainer keeps none of these."""

    def __init__(self, case: Case, out: Path) -> None:
        policy = load_policy(case.policy, case.dtype)
        engine = TransformersEngine(policy, case.sampling, case.max_batch)
        if case.shares is not None:
            engine._warpers.append(LengthLaw(case.shares, policy.stop_ids, 1))
        updater = Updater(policy, case.grpo, case.sampling)
        self.trainer = Trainer(policy, engine, case.judge, updater, case.problems, case.grpo, case.seed, OnPolicy())  # type: ignore[arg-type]
        self.files, self.number = RunFiles(out, "0" * 64), 0
        self.files.start(0)
        self.rewards: list[float] = []
        self.lengths: list[float] = []

    def step(self) -> None:
        outcome = run_step(self.trainer, self.number, identity(self.trainer.policy))
        self.files.write_step(self.number, outcome.rows, outcome.decisions, outcome.metrics)
        self.rewards.append(outcome.metrics["reward/mean"])
        self.lengths.append(outcome.metrics["completions/mean_length"])
        self.number += 1


class Theirs(TrainerCallback):  # type: ignore[misc]
    """TRL's trainer on a thread of its own, which goes on by one step each time it is told to."""

    def __init__(self, case: Case, out: Path) -> None:
        self.trainer = _trl_trainer(case, out)
        self.trainer.add_callback(self)
        self.go, self.done = threading.Semaphore(0), threading.Semaphore(0)
        self.error: Exception | None = None
        self.ended = False
        threading.Thread(target=self._train, daemon=True).start()

    def _train(self) -> None:
        self.go.acquire()
        try:
            self.trainer.train()
        except Exception as error:
            self.error = error
        self.ended = True
        self.done.release()

    def step(self) -> None:
        self.go.release()
        self.done.acquire()
        if self.error:
            raise self.error

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step < state.max_steps:  # after the last one `train` returns, and says so itself
            self.done.release()
            self.go.acquire()

    def logged(self, key: str) -> list[float]:
        return [row[key] for row in self.trainer.state.log_history if key in row]


def _trl_trainer(case: Case, out: Path) -> GRPOTrainer:
    policy = load_policy(case.policy, case.dtype)
    rows = [problem for step in range(case.steps) for problem in case.batch(step)]
    for problem in rows[:8]:
        assert tuple(policy.tokenizer(problem.prompt)["input_ids"]) == problem.prompt_token_ids

    def reward(completions: list[str], index: list[int], **_: Any) -> list[float]:
        return [verdict.reward for verdict in case.judge.judge([(rows[i], text) for i, text in zip(index, completions, strict=True)])]

    if case.shares is not None:
        _end_as(policy.model, LengthLaw(case.shares, policy.stop_ids, 1))
    data = Dataset.from_dict({"prompt": [problem.prompt for problem in rows], "index": list(range(len(rows)))})
    given = {"args": _trl_arguments(case, out), "train_dataset": data, "processing_class": policy.tokenizer}
    trainer = GRPOTrainer(model=policy.model, reward_funcs=reward, **given)
    trainer.remove_callback(PrinterCallback)
    return trainer


def _end_as(model: Any, law: LengthLaw) -> None:
    generate = model.generate

    def with_law(**arguments: Any) -> Any:
        law.prompt = arguments["input_ids"].shape[1]
        return generate(**arguments, logits_processor=LogitsProcessorList([law]))

    model.generate = with_law


def _trl_arguments(case: Case, out: Path) -> GRPOConfig:
    """The same loss and optimizer; and for speed no activation checkpointing, no reference model, nothing saved, no old log-probs.

    Its guide "Speeding Up Training" further names vLLM, kernels for GPUs, and mixed precision: here both compute in the case's dtype.
    """
    grpo, rows = case.grpo, case.grpo.prompts_per_step * case.grpo.group_size
    arguments: dict[str, Any] = {
        "output_dir": str(out),
        "per_device_train_batch_size": rows,
        "gradient_accumulation_steps": 1,
        "num_generations": grpo.group_size,
        "max_completion_length": case.sampling.max_new_tokens,
        "temperature": case.sampling.temperature,
        "top_k": case.sampling.top_k,
        "shuffle_dataset": False,
        "seed": case.seed,
        "max_steps": case.steps,
        "learning_rate": grpo.learning_rate,
        "lr_scheduler_type": "constant",
        "adam_beta1": grpo.adam_betas[0],
        "adam_beta2": grpo.adam_betas[1],
        "weight_decay": grpo.weight_decay,
        "max_grad_norm": grpo.max_grad_norm,
        "loss_type": "grpo",
        "beta": 0.0,
        "epsilon": grpo.clip_low,
        "epsilon_high": grpo.clip_high,
        "gradient_checkpointing": False,
        "bf16": False,
        "use_cpu": True,
        "dataloader_pin_memory": False,
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "logging_strategy": "steps",
        "logging_steps": 1,
        "log_level": "error",
    }
    return GRPOConfig(**arguments | case.trl)
