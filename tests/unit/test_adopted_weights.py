"""Weights of an adopted run: linked as they lie there, unless they are no numbers."""

import argparse
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from npo_pipeline.context import Context
from npo_pipeline.errors import DataError
from npo_pipeline.policy.policy import save_policy
from npo_pipeline.preparation.adoption.link import link_checkpoints
from npo_pipeline.preparation.adoption.sources import sources
from npo_pipeline.storage.checkpoints import read_records
from npo_pipeline.storage.layout import Layout
from tests.tiny import tiny_policy


def adopting(tmp_path: Path) -> Context[Any]:
    layout = Layout(tmp_path / "results")
    save_policy(tiny_policy(), layout.initial_policy)
    return Context(SimpleNamespace(dtype="float32", lora=None, copy=False), "0" * 64, layout, argparse.Namespace())


def test_a_checkpoint_that_had_diverged_is_named(tmp_path: Path) -> None:
    policy = tiny_policy(1)
    save_policy(policy, tmp_path / "run/checkpoint-1")
    policy.model.model.norm.weight.data[0] = float("nan")
    save_policy(policy, tmp_path / "run/checkpoint-2")
    context, places = adopting(tmp_path), {step: str(tmp_path / f"run/checkpoint-{step}") for step in (1, 2)}
    link_checkpoints(context, sources({1: places[1]}))
    assert sorted(read_records(context.layout.probe)) == [0, 1]
    with pytest.raises(DataError, match=r"step 2, .*checkpoint-2: its weight model.norm.weight holds NaN .*leave it out"):
        link_checkpoints(context, sources(places))
