"""`method`: what the methods of the second pass share. What a kind needs beside is in its file (npo_pipeline.guidance.methods)."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from npo_pipeline.configuration.settings.steps import StepLike

if TYPE_CHECKING:
    from npo_pipeline.configuration.settings.root import RootConfig

Need = Literal["probe", "guides", "demonstrations"]

CHOICES = ("argmax", "one_standard_error")
MANUAL, AUTO = "Manual NPO", "AutoNPO"
FAMILIES = (MANUAL, AUTO, "One pass", "Comparators", "GRPO with more compute")  # panels of a comparison's figures, in their order


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
class DemonstrationsConfig:
    """Verified trajectories of another policy, which the stage `demonstrate` samples before the run; and how they are mixed in."""

    policy: str  # "probe" (its last checkpoint), "teacher" (made by prepare), a model directory or hub name, or a trajectory file
    samples: int  # tries per prompt, in rounds of 1, 1, 2, 4, ... until `wanted` are verified
    wanted: int  # verified trajectories that a prompt must have to be used
    temperature: float  # of the tries
    top_p: float
    place: str  # "replace" the last slot of a group, or "append" `wanted` slots to it
    ratio: str  # of the slots: one of npo_pipeline.records.Ratio


@dataclass
class RowConfig:
    """How report and comparison show a method, as its file in conf/method says. No stage holds it, so nothing is made again for it."""

    order: int  # rows rise with it; the initial policy has 0, GRPO 20
    family: str  # of FAMILIES: whose panel of a figure it is in
    description: str  # in a line
    control: bool = False  # it answers another question than whether a guide helps


@dataclass(frozen=True)
class Place:
    """What the steps of a method have to fit into."""

    steps: int  # of the probe
    guides: list[int]
    lookback: int
    start: int  # of the guided runs


@dataclass(frozen=True)
class Foreseen:
    """A method's run over all seeds, as far as the configuration tells what it will sample."""

    seeds: int
    steps: int  # of one seed's run
    prompts: int  # per step
    responses: int  # of its own groups, at most
    distinct: Callable[[int], int]  # different prompts of so many consecutive steps


@dataclass(frozen=True)
class Further:
    """Responses beside those of a run's own groups, at most; fewer are expected, since fewer prompts fail."""

    tries: float = 0.0  # on failed prompts, until one is verified
    again: float = 0.0  # of steps that are taken again


@dataclass
class MethodConfig:
    """What all methods have. Each kind is a subclass, named Method, in the file of npo_pipeline.guidance.methods that has its name.

    The windows, the trigger and the demonstrations are here, since stages of the pipeline make something of them for whichever kind.
    A subclass adds its own settings under the name of its kind, overrides what it does otherwise, and says the following of itself.
    """

    needs: ClassVar[frozenset[Need]] = frozenset()  # beside its own run; demonstrations of the probe need that too
    scheduled: ClassVar[bool] = False  # follows a schedule.yaml that it plans; else it decides as it trains
    scored_live: ClassVar[bool] = False  # scores its guides by Q, V and S as it trains: its stage holds guidance.variance
    reads_task: ClassVar[bool] = False  # reads the rows of the task: its stage holds the task's settings
    averages: ClassVar[int] = 0  # tensors of the masters' shapes that it keeps beside them, in float32

    kind: str
    gate: float  # a group is mixed where its own accuracy <= gate
    correction: bool  # ratio of guide slots against the recorded guide log-probs
    windows: list[WindowConfig] = field(default_factory=list)
    autonpo: AutoNpoConfig | None = None  # AutoNPO's trigger
    demonstrations: DemonstrationsConfig | None = None
    grpo: dict[str, Any] = field(default_factory=dict)  # settings of `grpo` that this method changes
    length: float = 1.0  # steps of the run, as a multiple of probe.steps
    row: RowConfig | None = None  # null: below all others, without a description

    @property
    def replaces(self) -> bool:
        """Whether its guides take slots of a group, and so `guidance.replace` counts."""
        return True

    def check(self, key: str) -> None:
        """Raises ConfigError for a value of its own settings that cannot work; `key` names the method: "method.npo"."""

    def check_with(self, name: str, root: "RootConfig") -> None:
        """Raises ConfigError where the method of this name does not fit the rest of the configuration."""

    def resolved(self, key: str, place: Place) -> Self:
        """With its own settings in whole steps. Raises ConfigError naming the key."""
        return self

    def further(self, run: Foreseen) -> Further:
        """What it samples beside its run's own groups, for who foresees costs; what the stages guide and demonstrate sample is known."""
        return Further()

    def kept_states(self) -> tuple[int, int] | None:
        """Every how many steps, and how many, of policy and optimizer stay while it trains, so that it can go back to them."""
        return None
