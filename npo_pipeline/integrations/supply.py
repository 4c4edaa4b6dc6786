"""Exported guides as a trainer takes them: by guide step and by the token ids of the prompt that they answer.

A trainer of another project has no problem ids of ours, but it reads the very same prompt, or the guide would be no guide for it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import load_dataset

from npo_pipeline.errors import ConfigError, DataError
from npo_pipeline.guidance.schedule import Window, parse_schedule
from npo_pipeline.integrations.card import GUIDES
from npo_pipeline.shown import one_line, short_repr

READ = ("guide_step", "sample_index", "verified", "prompt_token_ids", "response_token_ids", "guide_logprobs", "prompt")


@dataclass(frozen=True)
class Guide:
    """A verified response: its tokens, and their log-probs (nats) under the distribution that it was sampled from."""

    response_token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]


@dataclass(frozen=True)
class Guides:
    """`by_prompt[guide step][prompt token ids]`; a prompt of them, as a text, to show; how many were too long."""

    name: str
    by_prompt: Mapping[int, Mapping[tuple[int, ...], Guide]]
    example: str
    left_out: int

    def covers(self, prompt_token_ids: Sequence[int]) -> bool:
        """By any of the guide steps."""
        return any(tuple(prompt_token_ids) in found for found in self.by_prompt.values())


def read_guides(source: str | Path, longest: int) -> Guides:
    """What `npo export-guides` wrote: a folder, or a name of the hub. As a run of ours takes them, each prompt's verified try of the
    lowest number; none of more than `longest` tokens, which the trainer could not sample itself.

    Raises ConfigError where there is nothing to read, DataError where it is something else, or has images.
    """
    rows = _rows(str(source))
    if any(row.get("images") for row in rows):
        raise DataError(
            f"{source}: these guides answer prompts with images, expected text alone; run the guided pass in npo-pipeline itself"
        )
    found: dict[int, dict[tuple[int, ...], Guide]] = {row["guide_step"]: {} for row in rows}
    verified = sorted((row for row in rows if row["verified"]), key=lambda row: row["sample_index"])
    short = [row for row in verified if len(row["response_token_ids"]) <= longest]
    for row in short:
        guide = Guide(tuple(row["response_token_ids"]), tuple(row["guide_logprobs"]))
        found[row["guide_step"]].setdefault(tuple(row["prompt_token_ids"]), guide)
    if not short:
        raise DataError(
            f"{source}: {len(verified)} of {len(rows)} rows are verified, none of them of at most {longest} tokens: nothing guides"
        )
    return Guides(str(source), found, short[0]["prompt"], len(verified) - len(short))


def _rows(source: str) -> list[dict[str, Any]]:
    try:
        table = pq.read_table(Path(source) / GUIDES) if Path(source).is_dir() else load_dataset(source, split="train")
    except Exception as error:  # of the hub, of a folder that is none, of files that cannot be read: each raises its own kind
        raise ConfigError(
            f"guides={short_repr(source)}: not readable ({one_line(str(error))}); expected a folder of npo export-guides"
        ) from None
    if missing := [name for name in READ if name not in table.column_names]:
        raise DataError(f"{source}: no column {missing[0]!r}, expected the columns that npo export-guides writes")
    kept = [name for name in table.column_names if name in (*READ, "images")]
    return list(table.select(kept).to_pylist() if isinstance(table, pa.Table) else table.select_columns(kept))


def read_windows(schedule: str | Path | Sequence[Window], guides: Guides) -> list[Window]:
    """Those of a schedule.yaml, or as they are given. Raises ConfigError for one that cannot be followed, DataError for a damaged file."""
    windows = list(parse_schedule(Path(schedule)).windows if isinstance(schedule, str | Path) else schedule)
    if not windows:
        raise ConfigError("schedule: holds no window, so nothing would be guided; expected at least one, or TRL's own GRPOTrainer")
    for i, window in enumerate(windows):
        _check_window(f"schedule: windows[{i}]", window, guides)
    ordered = sorted(windows, key=lambda window: window.from_step)
    for before, after in pairwise(ordered):
        if after.from_step < before.to_step:
            raise ConfigError(f"schedule: windows [{before.from_step}, {before.to_step}) and [{after.from_step}, {after.to_step}) overlap")
    return ordered


def _check_window(where: str, window: Window, guides: Guides) -> None:
    if not 0 <= window.from_step < window.to_step:
        raise ConfigError(f"{where}: found steps [{window.from_step}, {window.to_step}), expected 0 <= from_step < to_step")
    if window.guide_step not in guides.by_prompt:
        there = ", ".join(map(str, sorted(guides.by_prompt)))
        raise ConfigError(f"{where}.guide_step: found {window.guide_step}, but {guides.name} has guides of the steps {there}")
    if not 0.0 <= window.gate < 1.0:
        raise ConfigError(f"{where}.gate: found {short_repr(window.gate)}, expected a number in [0, 1)")
