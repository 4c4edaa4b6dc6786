"""Guide shards as a dataset that needs none of our code: `datasets.load_dataset(FOLDER)`, with a card that says where it comes from.

README.md                 the card
guides/guides-00000-of-00002.parquet    every try of every guide checkpoint, verified or not, with question, prompt and images
signal.parquet            Q, V, S per (current step, guide step); load_dataset(FOLDER, "signal")
"""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import yaml
from datasets import Dataset, Features, Image, List, Value

from npo_pipeline.errors import ArtifactError, ConfigError
from npo_pipeline.integrations.card import GUIDES, Source, card
from npo_pipeline.records import Problem, Trajectory
from npo_pipeline.shown import one_line
from npo_pipeline.storage.atomic import new_folder
from npo_pipeline.storage.guides import verify_guide
from npo_pipeline.storage.images import load_image
from npo_pipeline.storage.layout import Layout
from npo_pipeline.storage.manifest import Manifest, read_manifest, sha256_file, sha256_text, verify
from npo_pipeline.storage.parquet import (
    GUIDE_SHARD,
    SIGNAL,
    prompt_digest,
    read_problems,
    read_rows,
    read_table,
    row_trajectory,
    whole_rows,
)

FILE_ROWS = 10_000

FEATURES = {
    "problem_id": Value("string"),
    "guide_step": Value("int32"),
    "sample_index": Value("int32"),
    "question": Value("string"),
    "prompt": Value("string"),
    "answer": Value("string"),
    "difficulty": Value("string"),
    "response": Value("string"),
    "reward": Value("float32"),
    "verified": Value("bool"),
    "finish_reason": Value("string"),
    "prompt_token_ids": List(Value("int32")),
    "response_token_ids": List(Value("int32")),
    "guide_logprobs": List(Value("float32")),
    "prompt_sha256": Value("string"),
    "policy_sha256": Value("string"),
}


@dataclass(frozen=True)
class Guides:
    """A finished guide stage: its layout, the guide checkpoints wanted of it, and what its manifests say of them."""

    layout: Layout
    steps: list[int]
    manifests: dict[int, Manifest]


def export_guides(folder: Path, out: Path, steps: Sequence[int] = ()) -> int:
    """Write the guides of `folder` (results/NAME/seed-0/guide, or one step-* in it), or those of `steps`, as a dataset; returns its rows.

    Raises ConfigError if `out` is there already or a step is not, ArtifactError for what is missing, damaged or of another run.
    """
    if out.exists():
        raise ConfigError(f"{out}: exists already, and nothing is overwritten; name a new folder")
    guides = find_guides(folder, steps)
    configs, signal = _configs(guides.layout), read_table(guides.layout.signal, SIGNAL).to_pylist()
    problems = {problem.problem_id: problem for problem in read_problems(guides.layout.problems)}
    rows = [row for step in guides.steps for row in _rows(guides.layout, step, problems)]
    with new_folder(out) as partial:
        _write(rows, partial / GUIDES, _features(rows))
        shutil.copyfile(guides.layout.signal, partial / "signal.parquet")
        content = sha256_text("".join(map(sha256_file, sorted(partial.rglob("*.parquet")))))
        source = Source(configs, guides.layout, guides.manifests, signal, content)
        (partial / "README.md").write_text(card(source, rows), encoding="utf-8")
    return len(rows)


def find_guides(folder: Path, steps: Sequence[int] = ()) -> Guides:
    """Raises ArtifactError for a folder that is no finished guide stage, ConfigError for a step that it does not have."""
    folder = folder.resolve()
    single = folder.name.startswith("step-")
    layout = _layout(folder.parent if single else folder)
    verify(layout.prepare, prefix="problems")
    made: list[int] = verify_guide(layout.guide, layout.guide)["guide_steps"]
    wanted = [step for step in made if layout.guide_step(step) == folder] if single else list(steps) or made
    if not wanted or not set(wanted) <= set(made):
        missing = folder.name if single else next(step for step in wanted if step not in made)
        raise ConfigError(f"{layout.guide}: has no guide checkpoint {missing}; there are {', '.join(map(str, made)) or 'none'}")
    return Guides(layout, sorted(set(wanted)), {step: verify_guide(layout.guide, layout.guide_step(step)) for step in sorted(set(wanted))})


def _layout(guide: Path) -> Layout:
    """Of results/NAME/seed-0/guide or results/NAME/seed-0/round-2/guide. Raises ArtifactError for any other folder."""
    seed = next((parent for parent in guide.parents if parent.name.removeprefix("seed-").isdecimal()), None)
    if guide.name != "guide" or seed is None or not guide.is_dir():
        raise ArtifactError(f"{guide}: no folder of guides, expected one like results/NAME/seed-0/guide, or a step-* in it")
    return Layout(seed.parent, int(seed.name.removeprefix("seed-")), str(guide.parent.relative_to(seed)).replace(".", ""))


def _configs(layout: Layout) -> dict[str, Any]:
    """The resolved configurations of `prepare` and `guide`, which must be those that the guides were made with."""
    files = {"prepare": layout.root / "config/prepare.yaml", "guide": layout.root / "config" / layout.round / "guide.yaml"}
    made = {"prepare": read_manifest(layout.prepare)["config_sha256"], "guide": read_manifest(layout.guide)["config_sha256"]}
    found = {}
    for stage, file in files.items():
        try:
            text = file.read_text(encoding="utf-8")
            found[stage] = yaml.safe_load(text)
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise ArtifactError(f"{file}: not readable ({one_line(str(error))}). Run snakemake again: it writes it anew.") from None
        if sha256_text(text) != made[stage]:
            raise ArtifactError(
                f"{file}: not the configuration that {layout.root} was made with. Run snakemake again: it brings them together."
            )
    return found


def _rows(layout: Layout, step: int, problems: dict[str, Problem]) -> Iterator[dict[str, Any]]:
    folder = layout.guide_step(step)
    names = sorted(name for name in verify_guide(layout.guide, folder)["files"] if name.startswith("trajectories-"))
    with whole_rows(folder):
        for row in (row for name in names for row in read_rows(folder / name, GUIDE_SHARD)):
            trajectory = row_trajectory(row, layout.prepare)
            yield _row(row, trajectory, _problem(layout, folder, problems, row))


def _problem(layout: Layout, folder: Path, problems: dict[str, Problem], row: dict[str, Any]) -> Problem:
    problem = problems.get(row["problem_id"])
    if problem is None or prompt_digest(problem.prompt, problem.images) != row["prompt_sha256"]:
        raise ArtifactError(
            f"{folder}: its trajectories answer other prompts than {layout.problems} holds; delete it and run its stage again"
        )
    return problem


def _row(row: dict[str, Any], trajectory: Trajectory, problem: Problem) -> dict[str, Any]:
    asked = {"question": problem.question, "prompt": problem.prompt, "answer": problem.answer, "difficulty": problem.difficulty}
    shown = {"images": [load_image(image) for image in trajectory.images]} if trajectory.images else {}
    found = row | asked | {"response": row["response_text"]}
    return {name: found[name] for name in FEATURES} | shown


def _features(rows: Sequence[dict[str, Any]]) -> Features:
    """With images where the task has any."""
    return Features(FEATURES | ({"images": List(Image())} if any("images" in row for row in rows) else {}))


def _write(rows: Sequence[dict[str, Any]], folder: Path, features: Features) -> None:
    """Parquet files of up to FILE_ROWS rows; one, even without rows."""
    folder.mkdir()
    count = max(1, -(-len(rows) // FILE_ROWS))
    empty: dict[str, list[Any]] = {"images": []} if "images" in features else {}
    for i in range(count):
        part = [row | empty | row for row in islice(rows, i * FILE_ROWS, (i + 1) * FILE_ROWS)]
        Dataset.from_list(part, features=features).to_parquet(folder / f"guides-{i:05d}-of-{count:05d}.parquet")
