"""Checkpoints are of the weights that were handed over, however late the device copies them."""

import threading
from pathlib import Path

import pytest
import torch
from rank_scenarios import EvenLengths
from tiny import SAMPLING, grpo, tiny_policy
from torch import Tensor

from npo_pipeline.configuration.settings import VerifierConfig
from npo_pipeline.grpo.loop import RunLength, train
from npo_pipeline.grpo.mixer import OnPolicy
from npo_pipeline.grpo.step import Trainer
from npo_pipeline.grpo.update import Updater
from npo_pipeline.policy import checkpoints
from npo_pipeline.policy.checkpoints import Walk
from npo_pipeline.policy.snapshot import Snapshot
from npo_pipeline.records import Problem
from npo_pipeline.rollout.hf import TransformersEngine
from npo_pipeline.storage.run_files import RunFiles

STEPS = 4


class LateSnapshot(Snapshot):
    """A device that copies at the last moment: when it has to wait for the copy, or long after it was asked."""

    def take(self, weights: dict[str, Tensor]) -> None:
        self.asked, self.done, self.lock = weights, threading.Event(), threading.Lock()

    def _finish(self) -> None:
        with self.lock:
            if not self.done.is_set():
                super().take(self.asked)
                self.done.set()

    def hold(self) -> None:
        self._finish()

    def wait(self) -> None:
        self.done.wait(0.5)
        self._finish()


def run(folder: Path) -> dict[Path, bytes]:
    """A run with a checkpoint at every step; its roll-outs, metrics and checkpoints."""
    policy, settings = tiny_policy(), grpo(prompts_per_step=2)
    problems = [Problem(f"p{i}", "train", "", "", "all", "", tuple(range(10, 12 + i))) for i in range(4)]
    engine, verifier = TransformersEngine(policy, SAMPLING, 8), EvenLengths(VerifierConfig("exact", "whole", 1.0))
    trainer = Trainer(policy, engine, verifier, Updater(policy, settings, SAMPLING), problems, settings, 0, OnPolicy())
    train(trainer, RunFiles(folder, "0" * 64), RunLength(STEPS, 1, 2, STEPS), "run", "fingerprint")
    found = {file.relative_to(folder): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    return {name: content for name, content in found.items() if name.name != "timings.jsonl"}


def test_weights_are_copied_before_they_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = run(tmp_path / "at once")
    monkeypatch.setattr(checkpoints, "Snapshot", LateSnapshot)
    assert run(tmp_path / "late") == expected
    walk = Walk(tmp_path / "late", 0)
    for step in range(STEPS + 1):
        walk.to(step)
        walk.sha256()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU: a CPU's memory is copied at once")
def test_a_gpu_copies_beside_its_work_and_waits_before_a_change() -> None:
    policy = tiny_policy()
    policy.model.to("cuda")
    weights = {"a": torch.full((1 << 28,), 1.0, device="cuda")}
    snapshot = Snapshot(policy)
    snapshot.weights = {"a": torch.empty(1 << 28, pin_memory=True)}
    snapshot.take(weights)
    snapshot.hold()
    weights["a"].fill_(2.0)
    snapshot.wait()
    assert torch.equal(snapshot.weights["a"], torch.full((1 << 28,), 1.0))
