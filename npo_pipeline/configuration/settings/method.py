"""`method`: the methods of the second pass, and the settings of each kind."""

from dataclasses import dataclass, field
from typing import Any

from npo_pipeline.configuration.settings.steps import StepLike


@dataclass
class WindowConfig:
    """In the steps [from_step, to_step) the guide checkpoint `guide_step` helps; a fraction takes the next one at it or later."""

    from_step: StepLike
    to_step: StepLike
    guide_step: StepLike


@dataclass
class AutoNpoConfig:
    """When training counts as stagnating, and what confirms that guides would help."""

    ema: float  # weight of the newest step in the moving averages
    patience: StepLike  # steps over which stagnation and decline are judged
    min_gain: float  # reward gained over `patience` below which training stagnates
    entropy_drop: float  # relative entropy loss over `patience` above which exploration collapses
    min_coverage: float  # share of the mistake pool that the present policy must solve to confirm
    cooldown: StepLike  # steps after an intervention without another warning
    choice: str = "argmax"  # of Delta*: the highest S; or "one_standard_error": the nearest within one standard error of it


@dataclass
class RollingConfig:
    """A guide that moves ahead of the run."""

    distance: StepLike  # Delta: at step t the guide is the first guide checkpoint at t + Delta or later, so long as there is one


@dataclass
class OnlineConfig:
    """What a decision taken during the run needs beside the trigger."""

    min_prompts: int  # failed prompts that a candidate's Q must rest on
    max_steps: StepLike  # longest intervention; one lasts until the run comes to its guide's step, or this long


@dataclass
class RollbackConfig:
    """AutoNPO within one run: it goes back, and takes the segment again (npo_pipeline.guidance.methods.rollback)."""

    every: StepLike  # steps between the points that it may go back to: their policy and optimizer are kept
    lookback: StepLike  # farthest that it goes back
    tries: int  # most per failed prompt when a warning is to be confirmed, in rounds of 1, 1, 2, 4, ... until one is verified


@dataclass
class ResampleConfig:
    """The control: the live policy tries again what it failed."""

    samples: int  # further tries of the live policy per gated prompt, in rounds of 1, 1, 2, 4, ... until one is verified
    from_step: StepLike  # in the steps [from_step, to_step)
    to_step: StepLike


@dataclass
class EmaConfig:
    """Tries by an average of the run's own weights (npo_pipeline.guidance.methods.ema)."""

    decay: float  # of the moving average, per step
    extrapolate: float | None  # null: the average tries; a: theta + a (theta - average) does
    tries: int  # most per gated prompt, in rounds of 1, 1, 2, 4, ... until one is verified
    share: float  # most tokens of all tries of a step, as a share of those of its own samples
    compared: float  # share of the gated prompts on which average and live policy are compared, by a try each
    window: int  # steps whose comparisons count
    certainty: float  # that the average solves more, above which it may try the other prompts, and more than once


@dataclass
class ReplayConfig:
    """ExGRPO: the run's own past successes (npo_pipeline.guidance.methods.replay)."""

    start_accuracy: float  # replay begins once a step's accuracy has reached this
    share: float  # of a step's prompts that are replayed ones
    keep: int  # stored trajectories per prompt, the latest


@dataclass
class DemonstrationsConfig:
    """LUFFY and RLEP: verified trajectories of another policy, sampled before the run."""

    policy: str  # "probe" (its last checkpoint), "teacher" (made by prepare), a model directory or hub name, or a trajectory file
    samples: int  # tries per prompt, in rounds of 1, 1, 2, 4, ... until `wanted` are verified
    wanted: int  # verified trajectories that a prompt must have to be used
    temperature: float  # of the tries
    top_p: float
    place: str  # "replace" the last slot of a group, or "append" `wanted` slots to it
    ratio: str  # of the slots: one of npo_pipeline.records.Ratio


@dataclass
class HintConfig:
    """The beginning of the reference solution in the prompt (npo_pipeline.guidance.methods.hint)."""

    shares: list[float]  # of the solution's words that are shown, from the smallest on, while no try is verified
    samples: int  # tries per gated prompt with each share
    template: str  # what stands in the place of the question: with {question} and {hint}
    loss_on: str  # behind which prompt a success is trained on: the "hinted" one, or the plain "question"


@dataclass
class MethodConfig:
    """A method of the second pass. `kind` says where its guide trajectories come from, and which other part it needs.

    Scheduled, from the shards of the guide stage: "manual" (windows), "autonpo" (planned from the probe's log), "rolling".
    Decided live: "online" (AutoNPO on the run's own signals, from the shards), "rollback" (AutoNPO that goes back in its own run),
    "resample" (the live policy again), "ema" (its averaged weights), "hint" (with a part of the reference solution), "replay" (the
    run's own past), "demonstrations" (another policy), "none" (plain GRPO, for another number of steps).
    """

    kind: str
    gate: float  # a group is mixed where its own accuracy <= gate
    correction: bool  # ratio of guide slots against the recorded guide log-probs
    windows: list[WindowConfig] = field(default_factory=list)
    autonpo: AutoNpoConfig | None = None  # also of "online": its trigger
    rolling: RollingConfig | None = None
    online: OnlineConfig | None = None
    rollback: RollbackConfig | None = None
    resample: ResampleConfig | None = None
    ema: EmaConfig | None = None
    hint: HintConfig | None = None
    replay: ReplayConfig | None = None
    demonstrations: DemonstrationsConfig | None = None
    grpo: dict[str, Any] = field(default_factory=dict)  # settings of `grpo` that this method changes
    length: float = 1.0  # steps of the run, as a multiple of probe.steps

    @property
    def replaces(self) -> bool:
        """Whether its guides take slots of a group: those of rlep are appended, and exgrpo's replayed group is one with a sample fewer."""
        return self.kind not in ("none", "replay") and not (self.demonstrations and self.demonstrations.place == "append")


SCHEDULED = ("manual", "autonpo", "rolling")
GUIDED = (*SCHEDULED, "online")  # learn from the guide stage's shards
SCORED_LIVE = ("online", "ema", "rollback")  # score their guides by Q, V and S as they train
KINDS = (*GUIDED, "rollback", "resample", "ema", "hint", "replay", "demonstrations", "none")
CHOICES = ("argmax", "one_standard_error")
