"""The methods, a file each: a mixer (npo_pipeline.grpo.mixer), what it reads, and how it is made.

    scheduled       npo_early, npo_late, npo, npo_rolling, autonpo: guides at the steps of a schedule
    online          autonpo_online: decides while it trains
    rollback        autonpo_rollback: goes back within one run
    resample        the control: the live policy tries again
    ema             npo_ema, npo_extrapolate: the run's own averaged weights try
    hint            hint: the live policy with the beginning of the reference solution in its prompt
    replay          exgrpo: the run's own past successes
    demonstrated    luffy, rlep: another policy's trajectories
    plain           grpo_long: nothing is mixed in
    live            what those that decide live ask of the loaded policy

A new kind is a file here with `inputs` (files whose change makes the run another one) and `make`, and its line in KINDS.
`make` reads and checks everything before a model is loaded; what it returns is given the loaded trainer.
"""

from pathlib import Path
from typing import Protocol

from npo_pipeline.configuration.stages import GuidedStage
from npo_pipeline.context import Context
from npo_pipeline.grpo.mixer import MakeMixer
from npo_pipeline.guidance.methods import demonstrated, ema, hint, online, plain, replay, resample, rollback, scheduled


class Method(Protocol):
    """What a file of this folder holds."""

    def inputs(self, context: Context[GuidedStage]) -> list[Path]: ...

    def make(self, context: Context[GuidedStage]) -> MakeMixer: ...


KINDS: dict[str, Method] = {
    "online": online,
    "rollback": rollback,
    "resample": resample,
    "ema": ema,
    "hint": hint,
    "replay": replay,
    "demonstrations": demonstrated,
    "none": plain,
}


def method_of(config: GuidedStage) -> Method:
    """Of a run; one that follows a schedule has no method in its stage's configuration."""
    return KINDS[config.method.kind] if config.method else scheduled
