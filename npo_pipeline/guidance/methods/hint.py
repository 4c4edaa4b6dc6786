"""Hints (method `hint`): where every try is wrong, the live policy tries again with the beginning of the reference solution in its prompt.

Hints grow only where shorter ones did not help: a share of the solution's words is shown, then the next larger one to what is still
unsolved. A success takes a slot of the group, as in Scaf-GRPO (Zhang et al. 2025, arXiv 2510.19807), whose hints are tiers written by a
stronger model; SAGE (Liao et al. 2026, arXiv 2602.03143) has the policy write its own, and samples the whole group with it.

Both stay on-policy: the trajectory is trained on behind the prompt that it was sampled from, hint included (`loss_on: hinted`).
`loss_on: question` trains the response behind the plain prompt instead, which is what the policy reads when it is evaluated.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, ClassVar

from npo_pipeline.configuration.checks.require import one_of, require
from npo_pipeline.configuration.settings import Foreseen, Further, RootConfig, TaskConfig
from npo_pipeline.configuration.stages import GuidedStage
from npo_pipeline.context import Context
from npo_pipeline.errors import DataError
from npo_pipeline.grpo.mixer import MakeMixer, Mixed, Mixer, OnPolicy
from npo_pipeline.grpo.mixing import mix
from npo_pipeline.guidance.generate import first_verified, tokens_of
from npo_pipeline.guidance.methods import Live
from npo_pipeline.records import Draw, Group, GuideTrajectory, Problem, Ratio, Trajectory
from npo_pipeline.shown import short_repr
from npo_pipeline.tasks.rows.dataset import load_solutions
from npo_pipeline.tasks.rows.files import resolve_path
from npo_pipeline.tasks.rows.local import files_in
from npo_pipeline.tasks.rows.messages import turns_of

if TYPE_CHECKING:
    from npo_pipeline.grpo.step import Trainer

SampleAt = Callable[[int, Sequence[Draw]], list[Trajectory]]  # of the live policy, at a step
Render = Callable[[Problem, str], Problem]  # a problem as the policy reads it when it asks this question instead


@dataclass
class HintConfig:
    shares: list[float]  # of the solution's words that are shown, from the smallest on, while no try is verified
    samples: int  # tries per gated prompt with each share
    template: str  # what stands in the place of the question: with {question} and {hint}
    loss_on: str  # behind which prompt a success is trained on: the "hinted" one, or the plain "question"


@dataclass
class Method(Live):
    reads_task: ClassVar[bool] = True

    hint: HintConfig = field(kw_only=True)

    def check(self, key: str) -> None:
        hint, shares, key = self.hint, self.hint.shares, f"{key}.hint"
        rising = bool(shares) and all(0 < share <= 1 for share in shares) and sorted(set(shares)) == shares
        require(rising, f"{key}.shares", shares, "rising shares of the solution in (0, 1], such as [0.25, 0.5, 0.75]")
        require(hint.samples >= 1, f"{key}.samples", hint.samples, "at least 1")
        both = all(hint.template.count(mark) == 1 for mark in ("{question}", "{hint}"))
        require(both, f"{key}.template", hint.template, "a text with {question} and {hint}, once each")
        one_of(f"{key}.loss_on", hint.loss_on, ("hinted", "question"))

    def check_with(self, name: str, root: RootConfig) -> None:
        why = f"since the method {name} shows worked solutions, which only rows have (task=gsm8k); or leave it out of method"
        require(root.task.source == "dataset", "task.source", root.task.source, f"dataset, {why}")

    def further(self, run: Foreseen) -> Further:
        return Further(tries=run.seeds * run.steps * run.prompts * len(self.hint.shares) * self.hint.samples)

    def inputs(self, context: Context[GuidedStage]) -> list[Path]:
        """The rows that solutions are read from, where they lie on this machine."""
        found = resolve_path(str(_task(context).train))
        return files_in(found) if found else []

    def make(self, context: Context[GuidedStage]) -> MakeMixer:
        task, config = _task(context), context.config
        solutions = load_solutions(task)

        def mixer(trainer: "Trainer") -> Mixer:
            from npo_pipeline.guidance import live
            from npo_pipeline.rollout.engines import check_prompts

            render, sample_at = partial(live.rendered, trainer.policy, task.prompt), partial(live.tries, trainer, "hint")
            made = HintMixer(self, solutions_of(trainer.problems, solutions, task), render, sample_at, config.replace)
            check_prompts(config.engine, config.sampling, trainer.policy, [made.longest(problem) for problem in trainer.problems])
            return made

        return mixer


def _task(context: Context[GuidedStage]) -> TaskConfig:
    assert context.config.task is not None, "composed for this kind"
    return context.config.task


def solutions_of(problems: Sequence[Problem], solutions: Mapping[str, tuple[str, str]], task: TaskConfig) -> dict[str, str]:
    """The solution of each problem that has one. Raises DataError where rows are not those that the problems were made of, or none has."""
    found = {}
    for problem in problems:
        question, solution = solutions.get(problem.problem_id, (problem.question, ""))
        if question != problem.question:
            raise DataError(
                f"task.train={task.train}: problem {problem.problem_id} asks {short_repr(question)}, as prepared it asked "
                f"{short_repr(problem.question)}: the rows changed since. Run snakemake again, which prepares anew"
            )
        if solution and not turns_of(problem.metadata):  # a conversation has no one place for a hint
            found[problem.problem_id] = solution
    if not found:
        raise DataError(
            f"task.train={task.train}: no row of task.answer_column={task.answer_column} has a worked solution before its ####, which the "
            "method hint shows; take a dataset that has (task=gsm8k), or leave the method out"
        )
    return found


class HintMixer(OnPolicy):
    def __init__(self, method: Method, solutions: Mapping[str, str], render: Render, sample_at: SampleAt, replaced: str = "last") -> None:
        self.settings = method.hint
        self.gate, self.solutions, self.render, self.sample_at, self.replaced = method.gate, solutions, render, sample_at, replaced
        self.ratio: Ratio = "recorded" if method.correction else "policy"

    def mix(self, step: int, groups: Sequence[Group]) -> Mixed:
        gated = [group.problem for group in groups if group.accuracy <= self.gate and group.problem.problem_id in self.solutions]
        tried = self._tries(step, gated)
        plain = {problem.problem_id: problem for problem in gated}
        found = {i: GuideTrajectory(self._trained_on(plain[i], trajectory), step) for i, trajectory in first_verified(tried).items()}
        mixed = [mix(group, found.get(group.problem.problem_id), self.gate, self.ratio, self.replaced) for group in groups]
        return Mixed(mixed, tokens_of(tried), self._metrics(gated, tried))

    def _tries(self, step: int, problems: Sequence[Problem]) -> list[Trajectory]:
        """As many as `samples` with each share of the solution, until one is verified."""
        unsolved, tried = list(problems), list[Trajectory]()
        for level, share in enumerate(self.settings.shares):
            numbers = range(level * self.settings.samples, (level + 1) * self.settings.samples)
            draws = [(self.hinted(problem, share), number) for problem in unsolved for number in numbers]
            tried += self.sample_at(step, draws) if draws else []
            solved = first_verified(tried)
            unsolved = [problem for problem in unsolved if problem.problem_id not in solved]
        return tried

    def hinted(self, problem: Problem, share: float) -> Problem:
        hint = beginning(self.solutions[problem.problem_id], share)
        return self.render(problem, self.settings.template.replace("{question}", problem.question).replace("{hint}", hint))

    def longest(self, problem: Problem) -> Problem:
        """With the largest hint; the problem itself where it has no solution."""
        return self.hinted(problem, self.settings.shares[-1]) if problem.problem_id in self.solutions else problem

    def _trained_on(self, problem: Problem, trajectory: Trajectory) -> Trajectory:
        plain = self.settings.loss_on == "question"
        return replace(trajectory, prompt_token_ids=problem.prompt_token_ids) if plain else trajectory

    def _metrics(self, gated: Sequence[Problem], tried: Sequence[Trajectory]) -> dict[str, Any]:
        solved = first_verified(tried).values()
        shares = [self.settings.shares[trajectory.sample_index // self.settings.samples] for trajectory in solved]
        return {"hint/prompts": len(gated), "hint/solved": len(shares), "hint/share": fmean(shares) if shares else math.nan}


def beginning(solution: str, share: float) -> str:
    """The first words of a solution, at least one of them. Example: half of "2 + 2 is four" is "2 + 2", three of its five words."""
    words = list(re.finditer(r"\S+", solution))
    return solution[: words[max(1, math.ceil(share * len(words))) - 1].end()]
