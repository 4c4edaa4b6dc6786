"""checkpoints/ of an adopted run: each a folder of links, which any reader takes for an ordinary policy, and a record with its name."""

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from npo_pipeline.configuration.policy_folders import ADAPTER
from npo_pipeline.configuration.stages import AdoptStage
from npo_pipeline.context import Context
from npo_pipeline.errors import DataError
from npo_pipeline.policy.identity import identity
from npo_pipeline.policy.lora import add_lora
from npo_pipeline.policy.policy import Policy, load_policy, load_weights, non_finite, own_weights, write_policy
from npo_pipeline.preparation.adoption.sources import AGAIN, TOKENIZER, Source, read_json
from npo_pipeline.progress import Progress
from npo_pipeline.storage.atomic import new_folder, write_text
from npo_pipeline.storage.checkpoints import write_record
from npo_pipeline.storage.layout import checkpoint


def link_checkpoints(context: Context[AdoptStage], found: Sequence[Source]) -> None:
    """Of every source, and of the initial policy as step 0 where none is given. Each is read, and so hashed, once.

    Raises ArtifactError or DataError for weights that cannot be read or are no numbers, StorageError.
    """
    layout = context.layout
    shutil.rmtree(layout.probe / "checkpoints", ignore_errors=True)
    policy = _begin(context)
    if found[0].step > 0:
        with new_folder(checkpoint(layout.probe, 0)) as partial:
            _start(context, policy, partial, found[0])
            write_record(partial, 0, None, True, context.config.dtype, identity(policy))
    progress = Progress("adopt", len(found))
    for i in progress:
        with new_folder(checkpoint(layout.probe, found[i].step)) as partial:
            _fill(context, found[i], partial)
            load_weights(policy, partial, str(found[i]), f"{AGAIN.capitalize()}.")
            if odd := non_finite(policy):
                raise DataError(
                    f"{found[i]}: its weight {odd} holds NaN or infinity: the run had diverged; leave it out, and those after it"
                )
            write_record(partial, found[i].step, None, True, context.config.dtype, identity(policy))
        progress.note(f"step {found[i].step}")


def _begin(context: Context[AdoptStage]) -> Policy:
    """The initial policy, with an adapter where adapters are adopted."""
    config, layout = context.config, context.layout
    policy = load_policy(layout.initial_policy, config.dtype)
    if config.lora:
        add_lora(policy.model, config.lora, layout.initial_policy, layout.seed)
    return policy


def _start(context: Context[AdoptStage], policy: Policy, partial: Path, first: Source) -> None:
    """Step 0: the initial policy itself, or with adapters the one that changes nothing yet."""
    if first.is_adapter:
        write_policy(policy, partial, checkpoint(context.layout.probe, 0), own_weights(policy))
    else:
        _take([file for file in context.layout.initial_policy.iterdir() if file.is_file()], partial, context.config.copy, relative=True)


def _fill(context: Context[AdoptStage], source: Source, partial: Path) -> None:
    config, layout = context.config, context.layout
    _take([file for file in source.files if file.name != ADAPTER], partial, config.copy)
    if source.is_adapter:
        own = read_json(source.folder / ADAPTER)
        base = os.path.relpath(layout.initial_policy.resolve(), checkpoint(layout.probe, source.step).resolve())
        write_text(partial / ADAPTER, _json(own | {"base_model_name_or_path": base, "inference_mode": True}))
    elif not (source.folder / "tokenizer.json").is_file():
        _take([file for name in TOKENIZER if (file := layout.initial_policy / name).is_file()], partial, config.copy, relative=True)


def _json(values: dict[str, object]) -> str:
    return json.dumps(values, indent=2, sort_keys=True) + "\n"


def _take(files: Sequence[Path], partial: Path, copy: bool, relative: bool = False) -> None:
    """Link to files, or copy them. Links within the results are relative, so that these can be moved."""
    for file in files:
        if copy:
            shutil.copyfile(file, partial / file.name)
            continue
        target = file.resolve()
        (partial / file.name).symlink_to(os.path.relpath(target, partial.resolve()) if relative else target)
