"""Where a guided run should begin in an adopted one: at the onset of its plateau, by AutoNPO's own warning, walked over the run's log.

A warning after step T says that over `patience` steps up to T the reward stagnated while the entropy fell: the plateau began at
T - patience. Proposed is the last checkpoint at that step or before it.
"""

import shlex
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from npo_pipeline.configuration.adoption import log_file
from npo_pipeline.configuration.compose import load_root
from npo_pipeline.configuration.grid import as_steps
from npo_pipeline.configuration.settings import AutoNpoConfig, RootConfig
from npo_pipeline.guidance.autonpo.triggers import Trend, trends
from npo_pipeline.preparation.adoption.log import read_log

Row = dict[str, Any]


def propose(root: RootConfig, experiment: str, overrides: Sequence[str]) -> None:
    """Print what the adopted run is, where a guided one should begin, and the command. Raises ConfigError or DataError."""
    adopted = sorted(root.probe.adopt)
    log = log_file(root.probe.log, root.probe.adopt)
    print(f"probe.adopt: {len(adopted)} checkpoints, steps {_listed(adopted)}; log: {log or 'none (probe.log names one)'}")
    start, reason = proposed_start(read_log(log, root.probe.steps) if log else [], adopted, trigger(root))
    print(reason)
    words = [experiment, *overrides, f"guided.start={'STEP' if start is None else start}"]
    print(f"Next: npo run {' '.join(map(shlex.quote, words))}")


def trigger(root: RootConfig) -> AutoNpoConfig:
    """The settings of the experiment's AutoNPO, in whole steps; of conf/method/autonpo.yaml where it has none."""
    found = next((method.autonpo for method in root.method.values() if method.autonpo), None)
    settings = found or load_root(overrides=["method=[autonpo]"]).method["autonpo"].autonpo
    assert settings is not None, "checked with the configuration"
    return replace(settings, patience=as_steps(settings.patience, root.probe.steps, "method.autonpo.autonpo.patience"))


def proposed_start(metrics: Sequence[Row], adopted: Sequence[int], settings: AutoNpoConfig) -> tuple[int | None, str]:
    """The step, and why; None where the log warns of nothing, or there is none. `metrics` are one row per step.

    Only the first warning counts: later ones are of the same plateau.
    """
    if not metrics:
        return None, f"No log, no proposal. Begin where its reward stopped rising, at one of {_listed(adopted[:-1])}."
    seen = trends([row["reward/mean"] for row in metrics], [row["entropy"] for row in metrics], settings)
    if not seen:
        return None, f"The log tells no entropy, or fewer than {settings.patience} steps, so AutoNPO's warning cannot be walked over it."
    first = next((trend for trend in seen if trend.warning), None)
    if first is None:
        return None, f"No plateau: at no step had reward stagnated while entropy fell; at the end {_trend(seen[-1], settings)}."
    onset = first.step - settings.patience
    start = max((step for step in (0, *adopted[:-1]) if step <= onset), default=0)
    said = f"AutoNPO's warning after step {first.step}: {_trend(first, settings)}"
    return start, f"{said}. The plateau began about step {onset}; the checkpoint there or last before it is of step {start}."


def _trend(trend: Trend, settings: AutoNpoConfig) -> str:
    gained = (
        f"over {settings.patience} steps the reward's average gained {trend.reward_gain:+.4f} (a warning: less than {settings.min_gain})"
    )
    return f"{gained} and the entropy's fell by {trend.entropy_drop:.1%} (a warning: more than {settings.entropy_drop:.1%})"


def _listed(steps: Sequence[int]) -> str:
    shown = list(map(str, steps))
    return ", ".join(shown if len(shown) <= 8 else [*shown[:3], "...", *shown[-2:]])
