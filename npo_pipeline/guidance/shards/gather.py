"""Gathering of the guide stage: signal.parquet, one row of Q, V, S per (current step, guide step)."""

import json
import shutil
from collections import Counter, defaultdict
from typing import Any

import numpy as np

from npo_pipeline.configuration.stages import GuideStage, what_counts
from npo_pipeline.context import Context
from npo_pipeline.errors import ArtifactError
from npo_pipeline.guidance.generate import first_verified
from npo_pipeline.guidance.pool import mistake_pool, segments
from npo_pipeline.guidance.signal import signal
from npo_pipeline.records import Trajectory
from npo_pipeline.storage.checkpoints import read_records
from npo_pipeline.storage.guides import SCORES_FILE, read_outcomes, read_shards, verify_guide
from npo_pipeline.storage.layout import step_name
from npo_pipeline.storage.manifest import NAME, Manifest, sha256_file, sha256_text, verify, write_manifest
from npo_pipeline.storage.parquet import SCORES, SIGNAL, read_rows, write_table

SAMPLED_AS = 3  # the stage's version since which a guide checkpoint's trajectories and scores are made as they are


def gather(context: Context[GuideStage]) -> None:
    """Write signal.parquet and the guide folder's manifest. Raises ArtifactError if a guide checkpoint is missing or damaged."""
    config, layout = context.config, context.layout
    check_finished(context)
    rows = [row for guide_step in config.guide_steps for row in signal_rows(context, guide_step)]
    wanted = {step_name(step) for step in config.guide_steps}
    for folder in layout.guide.glob("step-*"):
        if folder.name not in wanted:  # of an earlier configuration
            shutil.rmtree(folder)
    shutil.rmtree(layout.guide_parts(0).parent, ignore_errors=True)
    write_table(layout.signal, rows, SIGNAL, context.config_sha256)
    files = [layout.signal, *(layout.guide_step(step) / NAME for step in config.guide_steps)]
    write_manifest(layout.guide, "guide", context.config_sha256, files, {"guide_steps": config.guide_steps, "lookback": config.lookback})


def check_finished(context: Context[GuideStage]) -> None:
    """Raises ArtifactError for a guide checkpoint that is missing, damaged, or was made from another configuration or probe."""
    layout = context.layout
    for step in context.config.guide_steps:
        if not _is_of(context, verify_guide(layout.guide, layout.guide_step(step))):
            raise ArtifactError(
                f"{layout.guide_step(step)}: made from another configuration or probe than {context.options.config} and {layout.probe}. "
                f"Delete {layout.guide / 'jobs'} and run snakemake again, or the stage without --gather: it is made anew"
            )


def finished(context: Context[GuideStage], guide_step: int) -> bool:
    """Whether this guide checkpoint is whole, and was made as this configuration says, from this very probe."""
    try:
        return _is_of(context, verify(context.layout.guide_step(guide_step)))
    except ArtifactError:
        return False


def _is_of(context: Context[GuideStage], manifest: Manifest) -> bool:
    return (manifest.get("made_as"), manifest["probe_sha256"]) == (made_as(context.config), probe_sha256(context))


def made_as(config: GuideStage) -> str:
    """The sha256 of the settings that a guide checkpoint hangs on: not of how V is estimated, nor of which others there are."""
    values = {key: value for key, value in what_counts(config).items() if key not in ("variance", "guide_steps")}
    return sha256_text(json.dumps(values | {"version": SAMPLED_AS}))


def reaches_back_to(config: GuideStage, guide_step: int) -> int:
    """The first step whose prompts the guide checkpoint tries."""
    return max(config.start or 0, guide_step - config.lookback)


def probe_sha256(context: Context[GuideStage]) -> str:
    return sha256_file(context.layout.probe / NAME)


def signal_rows(context: Context[GuideStage], guide_step: int) -> list[dict[str, Any]]:
    """The rows of one guide checkpoint, one per current step that it may guide, the farthest first."""
    config, layout = context.config, context.layout
    since = reaches_back_to(config, guide_step)
    outcomes = read_outcomes(layout.probe, since, guide_step)
    trajectories = [trajectory for trajectory, _ in read_shards(layout.guide_step(guide_step))]
    verified = first_verified(trajectories)
    tries = Counter(trajectory.problem_id for trajectory in trajectories)
    ratios = _log_ratios(context, guide_step, verified)
    rows = []
    for segment in segments(read_records(layout.probe), guide_step, since):
        failed = mistake_pool(outcomes, segment.start, segment.end, 0.0)
        pool = mistake_pool(outcomes, segment.start, segment.end, config.gate)
        counts = {"n_samples": sum(tries[i] for i in pool), "n_pool": len(pool), "n_scored": len(ratios[segment.current_step])}
        place = {"current_step": segment.current_step, "guide_step": guide_step, "distance": guide_step - segment.current_step}
        found = signal(failed, [i for i in failed if i in verified], ratios[segment.current_step], config.variance)
        rows.append(place | found | counts)
    return rows


def _log_ratios(context: Context[GuideStage], guide_step: int, verified: dict[str, Trajectory]) -> dict[int, list[list[float]]]:
    """log pi_t - log pi_g per token of each scored trajectory, by current step t."""
    ratios: dict[int, list[list[float]]] = defaultdict(list)
    for row in read_rows(context.layout.guide_step(guide_step) / SCORES_FILE, SCORES):
        guide = verified[row["problem_id"]].behaviour_logprobs
        ratios[row["current_step"]].append((np.array(row["current_logprobs"]) - np.array(guide)).tolist())
    return ratios
