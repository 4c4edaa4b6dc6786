"""The methods, a file each, and nothing else: the file's name is the `kind` that a YAML of conf/method/ asks for.

    manual, rolling, autonpo    npo_early, npo_late, npo; npo_rolling; autonpo: guides at the steps of a schedule
    online                      autonpo_online: decides while it trains
    rollback                    autonpo_rollback: goes back within one run
    resample                    the control: the live policy tries again
    ema                         npo_ema, npo_extrapolate: the run's own averaged weights try
    within                      npo_within: these finish the groups that fail so far, at GRPO's cost
    hint                        hint: the live policy with the beginning of the reference solution in its prompt
    replay                      exgrpo: the run's own past successes
    demonstrations              luffy, rlep: another policy's trajectories
    none                        grpo_long: nothing is mixed in

A new kind is a file here with a class `Method`, of `Live` or of `Planned`: a dataclass that adds the kind's settings under the kind's
name, checks them, says what the rest of the pipeline has to know of it (npo_pipeline.configuration.settings.MethodConfig), and makes
the mixer of a run or the schedule of its plan. Its YAML gives the values, and the row and the line that tables have for it.

A file here is read whenever a workflow is planned. What is heavy to import (numpy, pyarrow, torch) is imported where it is used.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

from npo_pipeline.configuration.settings import MethodConfig, Need
from npo_pipeline.configuration.stages import GuidedStage, PlanStage
from npo_pipeline.context import Context
from npo_pipeline.grpo.mixer import MakeMixer

if TYPE_CHECKING:
    from npo_pipeline.guidance.schedule import Schedule


@dataclass
class Live(MethodConfig, ABC):
    """A method that decides as it trains: its settings are in the guided stage's configuration."""

    def inputs(self, context: Context[GuidedStage]) -> list[Path]:
        """Files whose change makes the run another one."""
        return []

    @abstractmethod
    def make(self, context: Context[GuidedStage]) -> MakeMixer:
        """Reads and checks everything before a model is loaded; what it returns is given the loaded trainer."""


@dataclass
class Planned(MethodConfig, ABC):
    """A method with a schedule, which its plan stage writes and npo_pipeline.guidance.scheduled follows."""

    needs: ClassVar[frozenset[Need]] = frozenset({"probe", "guides"})
    scheduled: ClassVar[bool] = True

    @abstractmethod
    def plan(self, context: Context[PlanStage]) -> "Schedule":
        """Reads what it plans from."""


class Guided(Protocol):
    """What a guided run asks: a live method, or for all that are planned npo_pipeline.guidance.scheduled."""

    def inputs(self, context: Context[GuidedStage]) -> list[Path]: ...

    def make(self, context: Context[GuidedStage]) -> MakeMixer: ...


def guided(config: GuidedStage) -> Guided:
    """One that follows a schedule has no method in its stage's configuration."""
    from npo_pipeline.guidance import scheduled

    if config.method is None:
        return scheduled
    assert isinstance(config.method, Live), "checked with the configuration"
    return config.method
