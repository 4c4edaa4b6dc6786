"""`grpo`, `trainer`, `probe` and `guided`: how a run is trained, and which checkpoints it keeps."""

from dataclasses import dataclass
from typing import Any

from npo_pipeline.configuration.settings.steps import StepLike


@dataclass
class GrpoConfig:
    """One step: `group_size` responses to each of `prompts_per_step` problems, judged, and the updates on them (npo_pipeline.grpo)."""

    prompts_per_step: int
    group_size: int  # responses per prompt
    learning_rate: float  # after the warm-up; `lr_schedule` says whether it then decays
    warmup_steps: int  # over which it rises linearly
    weight_decay: float
    adam_betas: list[float]  # two
    max_grad_norm: float  # a longer gradient is scaled down to it
    epochs: int  # passes over each batch
    minibatches: int  # optimizer steps per pass
    advantage: str  # "std" (r - mean) / (std + eps), or "mean"
    advantage_eps: float  # the eps above
    aggregation: str  # "response" (mean over each response's tokens), "token" (over all tokens), "constant" (sum / sampling.max_new_tokens)
    clip_low: float  # the ratio is clipped to [1 - clip_low, 1 + clip_high]; 1.0 with clip_high .inf: no clip
    clip_high: float
    entropy_coef: float  # of an entropy bonus; 0: entropy is only logged
    kl_coef: float  # against the initial policy; 0: the reference is not even loaded
    engine_correction_cap: float | None  # weigh a sampled token's loss by min(trainer / engine probability, this); None: off
    micro_batch_tokens: int  # padded tokens per forward; does not change the result beyond rounding
    lr_schedule: str = "constant"  # "linear" and "cosine" go down to `lr_floor` over the run's steps
    lr_floor: float = 0.0  # the last step's learning rate, as a share of `learning_rate`
    dynamic_sampling: int | None = None  # rounds of further problems, at most, for groups of equal rewards; None: such groups stay


@dataclass
class TrainerConfig:
    """Over how many processes a run trains: the same loss, and up to rounding the same run. Changing it makes nothing run again."""

    nproc: int  # processes per node, each with a GPU where there are any; a profile's set-resources may say otherwise
    nodes: int  # more than one: under SLURM
    recompute_activations: bool  # activation checkpointing: less memory, more time


SINKS = ("tensorboard", "wandb", "trackio")  # of report_to


@dataclass
class ProbeConfig:
    """Pass one, and the length that fractions of a run refer to."""

    steps: int
    checkpoint_every: int  # steps between checkpoints: the grid on which guide checkpoints lie
    key_every: int  # every how many checkpoints one is a whole policy; those in between are deltas. Also of guided runs
    keep_states: int | None = None  # every how many steps the optimizer's state stays beside the checkpoint, to start a guided run from
    adopt: Any = None  # checkpoints of a run that was made elsewhere (npo_pipeline.configuration.adoption); then no probe is trained
    adopt_copy: bool = False  # copy them into the results, where links are made otherwise
    completions: str | None = None  # the adopted run's own roll-outs; null: its checkpoints are sampled
    log: str | None = None  # the adopted run's log; null: the last checkpoint's trainer_state.json, where there is one


@dataclass
class GuidedConfig:
    """Pass two."""

    checkpoint_every: StepLike  # of a run that is the probe of a next round: probe.checkpoint_every
    start: StepLike | None = None  # begin from the probe's checkpoint at this step; null: from the initial policy
    start_warmup: int = 10  # steps over which the learning rate then rises, where the probe kept no state of its optimizer there
