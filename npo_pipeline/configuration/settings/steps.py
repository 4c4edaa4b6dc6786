"""A number of steps that may scale with the run: 40, or 0.5 of it (npo_pipeline.configuration.timeline makes whole steps of all)."""

from typing import Any

StepLike = Any  # int: steps; float in [0, 1]: a fraction of probe.steps
