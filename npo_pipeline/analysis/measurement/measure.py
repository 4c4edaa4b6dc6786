"""The work of the stage `measure`: per current step one pool of problems, on-policy groups, and each guide's tries."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from npo_pipeline.analysis.measurement import gradient_variance as gv
from npo_pipeline.analysis.measurement.figure import draw_measured
from npo_pipeline.analysis.measurement.findings import findings
from npo_pipeline.analysis.measurement.sentences import sentences
from npo_pipeline.analysis.measurement.slot_gradients import SlotGradients
from npo_pipeline.configuration.stages import MeasureStage
from npo_pipeline.context import Context
from npo_pipeline.guidance.pool import mistake_pool
from npo_pipeline.guidance.signal import divergences, estimates
from npo_pipeline.policy.checkpoints import Walk
from npo_pipeline.policy.device import pick_device
from npo_pipeline.progress import Progress
from npo_pipeline.records import Problem, Trajectory
from npo_pipeline.rollout.engine import Engine
from npo_pipeline.rollout.engines import make_engine
from npo_pipeline.rollout.sample import sample
from npo_pipeline.storage.atomic import write_file, write_text
from npo_pipeline.storage.guides import read_outcomes
from npo_pipeline.storage.manifest import read_manifest, write_manifest
from npo_pipeline.storage.parquet import MEASURED, read_problems, write_table
from npo_pipeline.tasks.judging.verify import Verifier

MOST_STEPS = 4  # how many times a checkpoint's own steps are searched for its failures, where there are few
POLICY, GUIDE = "measure policy", "measure guide"  # purposes of sampling seeds: the policy's tries of distance 0 are no group of its own

Row = dict[str, Any]


@dataclass
class Groups:
    """On-policy groups of one problem [R, K]: as sampled, without the last slot but with a success there, and that slot's advantage.

    `own` holds pi_t's own verified samples as slots of advantage 1.
    """

    on_policy: gv.Drawn
    base: gv.Drawn
    scale: gv.Floats
    own: list[gv.Drawn]


@dataclass
class Guided:
    """A guide's verified trajectories of one problem: gradients [D, K] by correction, log-ratios, and whether they differ."""

    slots: dict[str, gv.Drawn]
    log_ratios: list[list[float]]
    varied: bool


@dataclass
class Current:
    """A current step: its pool, those of it that failed entirely, and the groups of problems that some guide solved."""

    step: int
    pool: list[Problem]
    failed: set[str]
    groups: dict[str, Groups] = field(default_factory=dict)


@dataclass
class Measurer:
    context: Context[MeasureStage]
    walk: Walk
    engine: Engine
    verifier: Verifier
    problems: dict[str, Problem]
    gradients: SlotGradients
    steps: int  # of the probe

    def sample(self, step: int, problems: Sequence[Problem], count: int, purpose: str, at: int) -> dict[str, list[Trajectory]]:
        """`count` samples per problem of the probe's checkpoint `step`, for the current step `at`; its weights stay loaded."""
        self.walk.to(step)
        draws = [(problem, i) for problem in problems for i in range(count)]
        found = sample(self.engine, self.walk.policy, self.verifier, draws, f"{purpose} {at}", self.context.layout.seed, step)
        self.engine.rest()
        return {problem.problem_id: found[i * count : (i + 1) * count] for i, problem in enumerate(problems)}

    def current(self, step: int) -> Current:
        """The mistake pool of a current step: of its own segment as in the guide stage, or of some steps more."""
        config = self.context.config
        last = min(self.steps, step + MOST_STEPS * config.checkpoint_every)
        outcomes = read_outcomes(self.context.layout.probe, step, last)
        ends = range(min(last, step + config.checkpoint_every), last + 1)
        enough = (end for end in ends if len(mistake_pool(outcomes, step, end, config.gate)) >= config.measure.problems)
        end = next(enough, last)
        pool = mistake_pool(outcomes, step, end, config.gate)[: config.measure.problems]
        return Current(step, [self.problems[i] for i in pool], {i for i in mistake_pool(outcomes, step, end, 0.0) if i in pool})

    def pair(self, current: Current, guide_step: int) -> Row:
        """The row of one pair. Weights: the guide's to sample, then the current policy's for all gradients."""
        settings, distance = self.context.config.measure, guide_step - current.step
        tried = self.sample(guide_step, current.pool, settings.tries, GUIDE, current.step)
        verified = {i: [t for t in tries if t.verified][: settings.repeats] for i, tries in tried.items()}
        solved = [i for i, kept in verified.items() if kept]
        self.add_groups(current, [self.problems[i] for i in solved if i not in current.groups])
        self.walk.to(current.step)
        guided = {i: self.guided(verified[i]) for i in solved}
        covered = [i for i in solved if i in current.failed]
        low, high = gv.wilson(len(covered), len(current.failed), settings.confidence)
        q = len(covered) / len(current.failed) if current.failed else float("nan")
        place = {"current_step": current.step, "guide_step": guide_step, "distance": distance, "n_pool": len(current.pool)}
        quality = {"n_failed": len(current.failed), "n_covered": len(covered), "q": q, "q_low": low, "q_high": high}
        costs = variances(guided, current.groups, settings.resamples, settings.confidence)
        ratios = divergences([row for found in guided.values() for row in found.log_ratios])
        costs |= {f"v_{name}": value for name, value in estimates(ratios, self.context.config.variance.beta).items()}
        signals = {f"s_{key[2:]}": q / v for key, v in costs.items() if key.startswith("v_") and not key.endswith(("_low", "_high"))}
        return place | quality | ratios | costs | signals

    def add_groups(self, current: Current, problems: Sequence[Problem]) -> None:
        """On-policy groups of problems that have none yet: only where a guide has something to mix in are they needed."""
        size, repeats = self.context.config.grpo.group_size, self.context.config.measure.repeats
        for problem_id, found in self.sample(current.step, problems, size * repeats, POLICY, current.step).items():
            current.groups[problem_id] = self.groups([found[i * size : (i + 1) * size] for i in range(repeats)])

    def groups(self, groups: Sequence[Sequence[Trajectory]]) -> Groups:
        grpo, on_policy, base, scale = self.context.config.grpo, [], [], []
        for group in groups:
            rewards = [slot.reward for slot in group]
            on_policy.append(self.gradients.on_policy(group, gv.advantages_with(rewards, None, grpo)))
            *others, last = gv.advantages_with(rewards, 1.0, grpo)  # a verified trajectory has the full reward
            base.append(self.gradients.on_policy(group[:-1], others))
            scale.append(last)
        own = [slot for group in groups for slot in group if slot.verified][: len(groups)]
        known = {slot.response_token_ids: self.gradients.on_policy([slot], [1.0]) for slot in own}
        return Groups(np.stack(on_policy), np.stack(base), np.array(scale), [known[slot.response_token_ids] for slot in own])

    def guided(self, verified: Sequence[Trajectory]) -> Guided:
        known = {t.response_token_ids: self.gradients.guide(t) for t in verified}
        drawn = [known[t.response_token_ids] for t in verified]
        slots = {kind: np.stack([gradients[kind] for gradients, _ in drawn]) for kind in drawn[0][0]}
        return Guided(slots, [ratios for _, ratios in drawn], len(known) > 1)


def variances(guided: dict[str, Guided], groups: dict[str, Groups], resamples: int, confidence: float) -> Row:
    """Every V with its interval, the noise, and the counts of problems behind them."""
    ids = list(guided)
    own = [i for i in ids if groups[i].own]
    row: Row = {"n_problems": len(ids), "n_varied": sum(found.varied for found in guided.values()), "n_own": len(own)}
    if len(ids) < 2:
        return row | {key: float("nan") for key in MEASURED.names if key.startswith(("v_", "noise_"))}
    on_policy = gv.moments([groups[i].on_policy for i in ids])
    parts = [groups[i].base for i in ids], [groups[i].scale for i in ids]
    for name, kind in (("measured", "uncorrected"), ("importance", "importance"), ("clipped", "clipped")):
        mix = gv.moments(gv.mixed(parts[0], [guided[i].slots[kind] for i in ids], parts[1]))
        row |= named(f"v_{name}", gv.growth(mix, on_policy, resamples, confidence))
        row |= {"noise_mixed" if name == "measured" else f"noise_{name}": gv.noise(mix)}
    slot = (float("nan"),) * 3
    if len(own) > 1:
        weighted = gv.moments([guided[i].slots["importance"] for i in own])
        slot = gv.growth(weighted, gv.moments([np.stack(groups[i].own) for i in own]), resamples, confidence)
    return row | named("v_slot", slot) | {"noise_on_policy": gv.noise(on_policy)}


def named(key: str, found: tuple[float, float, float]) -> Row:
    return {key: found[0], f"{key}_low": found[1], f"{key}_high": found[2]}


def measure(context: Context[MeasureStage], pairs: Sequence[tuple[int, int]]) -> None:
    """Measure every pair and write the stage's files."""
    config, layout = context.config, context.layout
    walk = Walk(layout.probe, pairs[0][0], pick_device(context.options.device))
    problems = {problem.problem_id: problem for problem in read_problems(layout.problems)}
    rows: list[Row] = []
    with Verifier(config.verifier, context.options.workers) as verifier:
        engine = make_engine(config.engine, config.sampling, walk.policy)
        gradients = SlotGradients(walk.policy, config.grpo, config.sampling)
        measurer = Measurer(context, walk, engine, verifier, problems, gradients, read_manifest(layout.probe)["steps"])
        progress, current = Progress("measure", len(pairs)), None
        for i in progress:
            step, guide_step = pairs[i]
            current = current if current and current.step == step else measurer.current(step)
            rows.append(measurer.pair(current, guide_step))
            progress.note(f"{step} + {guide_step - step}: Q {rows[-1]['q']:.3f}, V {rows[-1]['v_measured']:.2f}")
    write(context, rows)


def write(context: Context[MeasureStage], rows: Sequence[Row]) -> None:
    folder, settings = context.layout.measure, context.config.measure
    table = write_table(folder / "measured.parquet", rows, MEASURED, context.config_sha256)
    found = findings(rows, settings.resamples, settings.confidence)
    answers, text, figure = folder / "findings.json", folder / "findings.md", folder / "measured.svg"
    write_text(answers, json.dumps(found, indent=1) + "\n")
    write_text(text, "".join(f"- {sentence}\n" for sentence in sentences(found)))
    write_file(figure, lambda partial: _write_bytes(partial, draw_measured(rows)))
    write_manifest(folder, "measure", context.config_sha256, [table, answers, text, figure])


def _write_bytes(path: Any, content: bytes) -> None:
    path.write_bytes(content)
