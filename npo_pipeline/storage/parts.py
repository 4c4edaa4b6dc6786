"""What was sampled so far for something that is being made: one Parquet file per batch, so that nothing is sampled twice.

A file's name is the batch's identity and the sha256 of its content: what belongs to another run or is damaged is not found.
"""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from npo_pipeline.errors import ArtifactError
from npo_pipeline.records import Draw, Trajectory
from npo_pipeline.storage.manifest import sha256_file, sha256_text
from npo_pipeline.storage.parquet import GUIDE_SHARD, read_rows, row_trajectory, trajectory_row, write_table

LENGTH = 16  # hex digits of each hash in a name


class Parts:
    """Batches below `folder`. `identity` is all that decides what a draw gives: configuration, policy, seed."""

    def __init__(self, folder: Path, identity: str, config_sha256: str, prepare: Path) -> None:
        self.folder, self.identity, self.config_sha256, self.prepare = folder, identity, config_sha256, prepare
        self.found = 0  # trajectories that were there already

    def sampled(self, draws: Sequence[Draw], sample: Callable[[Sequence[Draw]], list[Trajectory]]) -> list[Trajectory]:
        """The trajectories of a batch: read, or sampled and kept. Raises StorageError if the disk refuses."""
        batch = sha256_text(f"{self.identity} {[(problem.problem_id, i) for problem, i in draws]}")[:LENGTH]
        if (kept := self._read(batch)) is not None:
            self.found += len(kept)
            return kept
        trajectories = sample(draws)
        rows = [trajectory_row(t, None, problem.prompt, None) for t, (problem, _) in zip(trajectories, draws, strict=True)]
        partial = write_table(self.folder / f".{batch}", rows, GUIDE_SHARD, self.config_sha256)
        partial.rename(self.folder / f"{batch}-{sha256_file(partial)[:LENGTH]}.parquet")
        return trajectories

    def _read(self, batch: str) -> list[Trajectory] | None:
        for file in self.folder.glob(f"{batch}-*.parquet"):
            try:
                if sha256_file(file)[:LENGTH] == file.stem.rpartition("-")[2]:
                    return [row_trajectory(row, self.prepare) for row in read_rows(file, GUIDE_SHARD)]
            except (OSError, ArtifactError):
                continue
        return None

    def remove(self) -> None:
        """All of it is elsewhere now."""
        shutil.rmtree(self.folder, ignore_errors=True)
