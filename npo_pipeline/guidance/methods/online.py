"""AutoNPO live (method autonpo_online): the guided run watches its own signals and decides when to intervene, how long, with which guide.

After step t a warning of its own reward and entropy asks for a decision. The candidates are the guide checkpoints that lie ahead;
of one at distance Delta, Q is the share of the run's own mistake pool (prompts it failed entirely in its last Delta steps, as far
as the guide tried them) that the shards cover, and V comes from scoring those trajectories under the policy as it is now. The
highest S wins; the intervention lasts until the run comes to its guide's step, or `max_steps`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from npo_pipeline.configuration.checks.require import require
from npo_pipeline.configuration.grid import as_steps
from npo_pipeline.configuration.settings import AutoNpoConfig, Need, Place, StepLike, VarianceConfig
from npo_pipeline.configuration.stages import GuidedStage
from npo_pipeline.context import Context
from npo_pipeline.grpo.mixer import MakeMixer, Mixed, Mixer, OnPolicy
from npo_pipeline.guidance.autonpo.decision import Row, decide
from npo_pipeline.guidance.autonpo.triggers import Trend, Watch
from npo_pipeline.guidance.methods import Live
from npo_pipeline.guidance.schedule import Window
from npo_pipeline.guidance.scheduled import mix_window
from npo_pipeline.records import Group, Trajectory
from npo_pipeline.storage.manifest import NAME, read_manifest
from npo_pipeline.storage.run_files import INTERVENTIONS, METRICS, read_jsonl

if TYPE_CHECKING:
    from npo_pipeline.grpo.step import Trainer
    from npo_pipeline.guidance.shards.load import Supply, Tried
    from npo_pipeline.guidance.signal import LogRatios

LiveLogRatios = Callable[[Sequence[Trajectory]], "LogRatios"]  # log pi_now - log pi_guide per token


@dataclass
class OnlineConfig:
    min_prompts: int  # failed prompts that a candidate's Q must rest on
    max_steps: StepLike  # longest intervention; one lasts until the run comes to its guide's step, or this long


@dataclass
class Method(Live):
    needs: ClassVar[frozenset[Need]] = frozenset({"probe", "guides"})
    scored_live: ClassVar[bool] = True

    autonpo: AutoNpoConfig = field(kw_only=True)
    online: OnlineConfig = field(kw_only=True)

    def check(self, key: str) -> None:
        require(self.online.min_prompts >= 1, f"{key}.online.min_prompts", self.online.min_prompts, "at least 1")

    def resolved(self, key: str, place: Place) -> Self:
        longest = as_steps(self.online.max_steps, place.steps, f"{key}.online.max_steps")
        return replace(self, online=replace(self.online, max_steps=longest))

    def inputs(self, context: Context[GuidedStage]) -> list[Path]:
        return [context.layout.guide / NAME]

    def make(self, context: Context[GuidedStage]) -> MakeMixer:
        from npo_pipeline.guidance.shards.load import load_guides

        config, layout, variance = context.config, context.layout, context.config.variance
        assert variance is not None, "composed for this kind"
        supply, tried = load_guides(layout, set(read_manifest(layout.guide)["guide_steps"]), config.sampling.max_new_tokens)

        def mixer(trainer: "Trainer") -> Mixer:
            from npo_pipeline.guidance import live

            return OnlineMixer(self, variance, supply, tried, partial(live.log_ratios, trainer), config.replace, layout.probe)

        return mixer


class OnlineMixer(OnPolicy):
    def __init__(
        self,
        method: Method,
        variance: VarianceConfig,
        supply: "Supply",
        tried: "Tried",
        log_ratios: LiveLogRatios,
        replaced: str = "last",
        before: Path = Path(),
    ) -> None:
        """`before` is the run that a guided run with a later first step goes on from: its last steps are as the run's own."""
        self.method, self.trigger, self.online, self.variance = method, method.autonpo, method.online, variance
        self.supply, self.tried, self.log_ratios, self.replaced = supply, tried, log_ratios, replaced
        self.before = before
        self.watch = Watch(self.trigger)
        self.failures: list[tuple[int, str]] = []  # (step, problem) of the groups without a verified sample
        self.window: Window | None = None

    def mix(self, step: int, groups: Sequence[Group]) -> Mixed:
        active = self.window and self.window.from_step <= step < self.window.to_step
        return mix_window(self.window if active else None, self.supply, groups, self.replaced)

    def observe(self, step: int, groups: Sequence[Group], metrics: dict[str, Any]) -> list[Row]:
        self.failures += [(step, group.problem.problem_id) for group in groups if group.accuracy == 0.0]
        trend = self.watch.see(metrics["reward/mean"], metrics["entropy"])
        quiet_until = self.window.to_step + self.trigger.cooldown if self.window else 0
        if trend is None or not trend.warning or step + 1 < quiet_until:
            return []
        return self._decide(trend, step + 1)

    def _decide(self, trend: Trend, now: int) -> list[Row]:
        """A decision that holds from step `now` on; none where no guide checkpoint lies ahead."""
        candidates = [self._candidate(now, guide) for guide in sorted(self.tried) if guide > now]
        if not candidates:
            return []
        account, chosen = decide(trend, candidates, self.trigger)
        if chosen:
            end = min(chosen["guide_step"], now + self.online.max_steps)
            self.window = Window(now, end, chosen["guide_step"], self.method.gate, self.method.correction, account["reason"])
            account |= {"from_step": now, "to_step": end}
        return [{"after_step": account.pop("step"), **account}]

    def _candidate(self, now: int, guide: int) -> Row:
        """Q, V and S of a guide checkpoint for the policy as it is now; NaN where too few failed prompts were tried by it."""
        from npo_pipeline.guidance.signal import signal

        place = {"current_step": now, "guide_step": guide, "distance": guide - now}
        recent = dict.fromkeys(problem_id for step, problem_id in self.failures if step >= now - place["distance"])
        failed = [problem_id for problem_id in recent if problem_id in self.tried[guide]]
        covered = [problem_id for problem_id in failed if (guide, problem_id) in self.supply]
        if len(failed) < self.online.min_prompts:
            return {
                **place,
                "n_failed": len(failed),
                "n_covered": len(covered),
                "q": math.nan,
                "v": math.nan,
                "s": math.nan,
                "s_se": math.nan,
            }
        ratios = self.log_ratios([self.supply[guide, problem_id].trajectory for problem_id in covered])
        return place | signal(failed, covered, ratios, self.variance)

    def restore(self, run: Path, step: int, first: int = 0) -> None:
        """Metrics and roll-outs hold what was observed; interventions.jsonl holds the last window."""
        for folder, start, end in ((self.before, 0, first), (run, first, step)):
            if start < end:
                self._look_back(folder, start, end)
        if step == first:
            return
        made = [row for row in read_jsonl(run / INTERVENTIONS) if row["chosen"] is not None] if (run / INTERVENTIONS).exists() else []
        if made:
            last = made[-1]
            place = (last["from_step"], last["to_step"], last["guide_step"])
            self.window = Window(*place, self.method.gate, self.method.correction, last["reason"])

    def _look_back(self, folder: Path, start: int, end: int) -> None:
        from npo_pipeline.storage.guides import read_outcomes

        for row in read_jsonl(folder / METRICS):
            if start <= row["step"] < end:
                self.watch.see(row["reward/mean"], row["entropy"])
        self.failures += [(o.step, o.problem_id) for o in read_outcomes(folder, start, end) if o.accuracy == 0.0]
