"""AutoNPO within one run (method autonpo_rollback): a warning at step T, back to T - Delta*, that segment again with guides from T.

Every few steps policy and optimizer are kept. When the run's own reward and entropy warn, the policy as it is, pi_T, tries the prompts
that the run failed in its last `lookback` steps: that one roll-out confirms the warning, is the supply of guides, and gives Q of every
distance to a kept step; V comes from scoring the verified tries under the policy that was kept there. The highest S = Q / V wins
(npo_pipeline.guidance.autonpo.decision). The run then goes back to that step, with its optimizer as it was, and until T a group at or
below the gate has the try of pi_T in its last slot. After `cooldown` further steps it listens for warnings again.

What is thrown away was sampled all the same: its tokens, and those of the roll-out, count to the step gone back to.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from npo_pipeline.configuration.checks.require import require
from npo_pipeline.configuration.grid import as_steps
from npo_pipeline.configuration.settings import AutoNpoConfig, Foreseen, Further, Place, StepLike, VarianceConfig
from npo_pipeline.configuration.stages import GuidedStage
from npo_pipeline.context import Context
from npo_pipeline.errors import ConfigError
from npo_pipeline.grpo.mixer import MakeMixer, Mixed, Mixer, OnPolicy
from npo_pipeline.grpo.rewind import DECISION, drop_undone, new_segment, segments, spent
from npo_pipeline.guidance.autonpo.decision import Row, decide
from npo_pipeline.guidance.autonpo.triggers import Trend, Watch
from npo_pipeline.guidance.generate import first_verified, sample_until_verified, tokens_of
from npo_pipeline.guidance.methods import Live
from npo_pipeline.guidance.pool import mistake_pool
from npo_pipeline.guidance.schedule import Window
from npo_pipeline.guidance.scheduled import mix_window
from npo_pipeline.records import Draw, Group, GuideTrajectory, Outcome, Problem, Trajectory
from npo_pipeline.storage.atomic import new_folder
from npo_pipeline.storage.layout import STATES
from npo_pipeline.storage.run_files import METRICS, read_jsonl

if TYPE_CHECKING:
    from npo_pipeline.grpo.step import Trainer
    from npo_pipeline.guidance.shards.load import Supply
    from npo_pipeline.guidance.signal import LogRatios

TRAJECTORIES = "trajectories.parquet"

Tries = Callable[[int, Sequence[Draw]], list[Trajectory]]  # of the policy as it is, at a step
LogRatiosAt = Callable[[int, Sequence[Trajectory]], "LogRatios"]  # log pi_kept - log pi_now per token, of the policy kept at a step


@dataclass
class RollbackConfig:
    every: StepLike  # steps between the points that it may go back to: their policy and optimizer are kept
    lookback: StepLike  # farthest that it goes back
    tries: int  # most per failed prompt when a warning is to be confirmed, in rounds of 1, 1, 2, 4, ... until one is verified


@dataclass
class Method(Live):
    scored_live: ClassVar[bool] = True

    autonpo: AutoNpoConfig = field(kw_only=True)
    rollback: RollbackConfig = field(kw_only=True)

    def check(self, key: str) -> None:
        require(self.rollback.tries >= 1, f"{key}.rollback.tries", self.rollback.tries, "at least 1")

    def resolved(self, key: str, place: Place) -> Self:
        key = f"{key}.rollback"
        every = as_steps(self.rollback.every, place.steps, f"{key}.every")
        lookback = as_steps(self.rollback.lookback, place.steps, f"{key}.lookback")
        if lookback < every:
            raise ConfigError(f"{key}.lookback={lookback}: expected at least {key}.every={every}, or there is nothing to go back to")
        return replace(self, rollback=replace(self.rollback, every=every, lookback=lookback))

    def further(self, run: Foreseen) -> Further:
        """At most all again, and before each time a roll-out on what was failed."""
        times = run.steps // max(1, self.autonpo.cooldown)
        tries = run.seeds * times * run.distinct(self.rollback.lookback) * self.rollback.tries
        return Further(tries=tries, again=run.responses)

    def kept_states(self) -> tuple[int, int]:
        return self.rollback.every, self.rollback.lookback // self.rollback.every + 1

    def make(self, context: Context[GuidedStage]) -> MakeMixer:
        config, layout, variance = context.config, context.layout, context.config.variance
        assert variance is not None, "composed for this kind"

        def mixer(trainer: "Trainer") -> Mixer:
            from npo_pipeline.guidance import live

            problems = {problem.problem_id: problem for problem in trainer.problems}
            ask = (partial(live.tries, trainer, "resample"), partial(live.log_ratios_at, trainer, layout.run(config.name)))
            return RollbackMixer(self, variance, problems, *ask, layout.prepare, trainer.ranks.on_main, config.replace)

        return mixer


class RollbackMixer(OnPolicy):
    def __init__(
        self,
        method: Method,
        variance: VarianceConfig,
        problems: dict[str, Problem],
        tries: Tries,
        log_ratios_at: LogRatiosAt,
        prepare: Path,
        on_main: Callable[[Callable[[], Any]], Any] = lambda call: call(),
        replaced: str = "last",
    ) -> None:
        """`on_main` has rank 0 alone call what writes."""
        self.method, self.trigger, self.settings, self.variance = method, method.autonpo, method.rollback, variance
        self.problems, self.tries, self.log_ratios_at, self.prepare = problems, tries, log_ratios_at, prepare
        self.on_main, self.replaced = on_main, replaced
        self._forget()

    def _forget(self) -> None:
        self.watch = Watch(self.trigger)
        self.outcomes: list[Outcome] = []
        self.warned: Trend | None = None
        self.window: Window | None = None
        self.supply: Supply = {}
        self.quiet_until = 0
        self.owed = 0  # tokens that the next step counts

    def mix(self, step: int, groups: Sequence[Group]) -> Mixed:
        active = self.window and self.window.from_step <= step < self.window.to_step
        mixed = mix_window(self.window if active else None, self.supply, groups, self.replaced)
        owed, self.owed = self.owed, 0
        return Mixed(mixed.groups, owed)

    def observe(self, step: int, groups: Sequence[Group], metrics: dict[str, Any]) -> list[Row]:
        self.outcomes += [Outcome(step, group.problem.problem_id, group.accuracy) for group in groups]
        trend = self.watch.see(metrics["reward/mean"], metrics["entropy"])
        self.warned = trend if trend and trend.warning and step + 1 >= self.quiet_until else None
        return []

    @property
    def wants_back(self) -> bool:  # type: ignore[override]
        return self.warned is not None

    def go_back(self, run: Path, now: int) -> int | None:
        assert self.warned is not None, "asked where it wants back"
        since = now - self.settings.lookback
        pool = [self.problems[i] for i in mistake_pool(self.outcomes, since, now, self.method.gate)]
        tried = sample_until_verified(pool, self.settings.tries, lambda draws: self.tries(now, draws))
        verified = first_verified(tried)
        kept = [step for step in kept_states(run) if since <= step < now]
        candidates = [self._candidate(step, now, verified) for step in kept]
        account, chosen = decide(self.warned, candidates, self.trigger)
        account["after_step"] = account.pop("step")
        back = chosen["current_step"] if chosen else None
        if chosen:
            account |= {"from_step": back, "to_step": now}
        spent_here = tokens_of(tried)
        decision = {"now": now, "back_to": back, "tokens": spent_here, "account": account}
        self.on_main(lambda: self._write(run, now, decision, list(verified.values())))
        self.quiet_until, self.owed, self.warned = self._quiet_until(now), spent_here, None
        return back

    def _quiet_until(self, decided: int) -> int:
        """Never the same step again: or a run could go back from it for ever."""
        return decided + max(1, self.trigger.cooldown)

    def _candidate(self, step: int, now: int, verified: dict[str, Trajectory]) -> Row:
        """Q, V and S of going back to a kept step. Nothing failed there: NaN, which is not chosen."""
        from npo_pipeline.guidance.signal import signal

        failed = mistake_pool(self.outcomes, step, now, 0.0)
        covered = [problem_id for problem_id in failed if problem_id in verified]
        ratios = self.log_ratios_at(step, [verified[problem_id] for problem_id in covered]) if covered else []
        place = {"current_step": step, "guide_step": now, "distance": now - step}
        counts = {"n_failed": len(failed), "n_covered": len(covered)}
        return place | counts | signal(failed, covered, ratios, self.variance)

    def _write(self, run: Path, now: int, decision: Row, guides: Sequence[Trajectory]) -> None:
        from npo_pipeline.storage.parquet import GUIDE_SHARD, trajectory_row, write_table

        rows = [trajectory_row(guide, now, self.problems[guide.problem_id].prompt, None) for guide in guides]
        with new_folder(new_segment(run)) as partial:
            write_table(partial / TRAJECTORIES, rows, GUIDE_SHARD, "")
            (partial / DECISION).write_text(json.dumps(decision, indent=1) + "\n", encoding="utf-8")

    def restore(self, run: Path, step: int, first: int = 0) -> None:
        """Metrics and roll-outs hold what was observed, the segments what was decided."""
        from npo_pipeline.storage.guides import read_outcomes

        self._forget()
        if step == first:
            return
        self.on_main(lambda: drop_undone(run, step))
        for row in read_jsonl(run / METRICS):
            self.watch.see(row["reward/mean"], row["entropy"])
        self.outcomes = read_outcomes(run, first, step)
        decided = segments(run)
        if decided:
            self.quiet_until = self._quiet_until(decided[-1][1]["now"])
            self.owed = spent(run, step)
        if went := [entry for entry in decided if entry[1]["back_to"] is not None]:
            self._take_up(*went[-1])

    def _take_up(self, folder: Path, decision: Row) -> None:
        """The window and the guides of the last time that it went back."""
        from npo_pipeline.storage.parquet import GUIDE_SHARD, read_rows, row_trajectory

        back, now = decision["back_to"], decision["now"]
        self.window = Window(back, now, now, self.method.gate, self.method.correction, decision["account"]["reason"])
        rows = read_rows(folder / TRAJECTORIES, GUIDE_SHARD)
        self.supply = {(now, row["problem_id"]): GuideTrajectory(row_trajectory(row, self.prepare), now) for row in rows}


def kept_states(run: Path) -> list[int]:
    return sorted(int(state.name.removeprefix("step-")) for state in (run / STATES).glob("step-*"))
