"""The things that travel between stages, with their shapes and units.

Axis suffixes, here and in the code: `_P` problem, `_G` group member (slot), `_T` response token, `_B` row of a micro-batch.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Source = Literal["on_policy", "guide"]
Ratio = Literal["policy", "recorded", "shaped", "shaped_recorded"]
FinishReason = Literal["stop", "length"]


@dataclass(frozen=True)
class Image:
    """An image file of a problem: where it lies, what it is, and its size in pixels.

    Example: `Image("images/3fd0...77.png", "3fd0...77", 64, 64)`. `folder` is the experiment's prepare folder; it is no part of the
    identity and is not stored, so that results can be moved.
    """

    path: str  # relative to the prepare folder
    sha256: str  # of the file
    width: int
    height: int
    folder: Path = field(default=Path(), compare=False, repr=False)

    @property
    def file(self) -> Path:
        """The file to open (npo_pipeline.storage.images.load_image)."""
        return self.folder / self.path


@dataclass(frozen=True)
class Problem:
    """A question with a verifiable answer.

    Example: `Problem("train-000007", "train", "Sort: 3, 1, 2", "['1', '2', '3']", "3", "Sort: 3, 1, 2\\n", (5, 9, 2))`.
    The prompt is stored unexpanded: it holds one placeholder token per image, in the order of `images`.
    """

    problem_id: str
    split: str  # "train" or "eval"
    question: str
    answer: str  # the reference answer
    difficulty: str  # a label to group results by; "all" where the task has none
    prompt: str  # the rendered prompt: what the policy reads
    prompt_token_ids: tuple[int, ...]
    metadata: dict[str, Any] = field(default_factory=dict)  # what the verifier needs beside the answer
    images: tuple[Image, ...] = ()


@dataclass(frozen=True)
class Trajectory:
    """One sampled and verified response.

    Example: a response of three tokens has `response_token_ids == (7, 8, 1)` (the last is the end of sequence when
    `finish_reason == "stop"`) and `behaviour_logprobs == (-0.1, -2.3, -0.01)`, in nats, under the distribution that was
    sampled: after temperature, top-k and top-p.
    """

    problem_id: str
    sample_index: int
    prompt_token_ids: tuple[int, ...]
    response_token_ids: tuple[int, ...]
    behaviour_logprobs: tuple[float, ...]
    reward: float
    verified: bool
    finish_reason: FinishReason
    response_text: str
    images: tuple[Image, ...] = ()  # the problem's: what the prompt's placeholders stand for


Draw = tuple[Problem, int]  # a problem and the index of a sample of it


@dataclass(frozen=True)
class Outcome:
    """What the probe's group made of a problem at a step: the share of its samples that were verified."""

    step: int
    problem_id: str
    accuracy: float


@dataclass(frozen=True)
class GuideTrajectory:
    """A verified-correct trajectory that somebody else sampled, ready to take a slot.

    `guide_step` is the step of the policy that did: ahead of the current step (a guide checkpoint), the current step itself
    (the live policy sampled again), or behind it (replay); None for an external teacher.
    """

    trajectory: Trajectory
    guide_step: int | None


@dataclass(frozen=True)
class Slot:
    """One member of a group: whose trajectory it is, and how its importance ratio enters the loss.

    `ratio` "policy": pi_theta over the policy before the update, as if that had sampled the slot; "recorded": pi_theta over the
    recorded log-probs, clipped like any other; "shaped": f(pi_theta), never clipped (LUFFY); "shaped_recorded": f(pi_theta over
    the recorded log-probs), never clipped (ExGRPO); f(x) = x / (x + 0.1).
    Example: a slot that NPO filled from guide checkpoint 40 is `Slot(trajectory, "guide", 40)`.
    """

    trajectory: Trajectory
    source: Source = "on_policy"
    guide_step: int | None = None  # of a guide slot, as in GuideTrajectory
    ratio: Ratio = "policy"


@dataclass(frozen=True)
class Group:
    """The slots of one problem at one step.

    `accuracy` is the share of verified-correct trajectories among all that the policy itself sampled, taken before any
    slot was replaced: an injected success never counts as the policy's own.
    Example: eight samples of which one is correct, the last slot then given to a guide: eight slots, accuracy 0.125.
    """

    problem: Problem
    slots: tuple[Slot, ...]
    accuracy: float
    reward_mean: float  # of the policy's own samples, like `accuracy`
