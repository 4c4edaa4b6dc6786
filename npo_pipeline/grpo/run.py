"""What the probe and the guided stage share: building a trainer from a configuration, and finishing a run."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TypeVar

from transformers import PreTrainedModel

from npo_pipeline.configuration.stages import RunStage, what_counts
from npo_pipeline.context import Context
from npo_pipeline.distributed.group import joined
from npo_pipeline.distributed.ranks import Ranks
from npo_pipeline.grpo.learning_rate import Warmup
from npo_pipeline.grpo.loop import RunLength, train
from npo_pipeline.grpo.mixer import MakeMixer, OnPolicy
from npo_pipeline.grpo.state import load_kept_state
from npo_pipeline.grpo.step import Trainer
from npo_pipeline.grpo.update import Updater
from npo_pipeline.policy.checkpoints import Walk
from npo_pipeline.policy.device import pick_device
from npo_pipeline.policy.lora import add_lora
from npo_pipeline.policy.policy import Policy, export_policy, load_policy
from npo_pipeline.rollout.engines import check_prompts, make_engine
from npo_pipeline.rollout.sample import sampling_facts
from npo_pipeline.storage.checkpoints import read_record
from npo_pipeline.storage.layout import STATES, checkpoint, kept_state
from npo_pipeline.storage.lock import only_writer
from npo_pipeline.storage.manifest import read_manifest, sha256_text
from npo_pipeline.storage.parquet import read_problems
from npo_pipeline.storage.run_files import RunFiles
from npo_pipeline.tasks.judging.verify import Verifier

Run = TypeVar("Run", bound=RunStage)


def run_training(context: Context[Run], name: str, make_mixer: MakeMixer = lambda trainer: OnPolicy(), inputs: str = "") -> None:
    """Train from the initial policy to the end and write the manifest. `inputs` names what else the run depends on."""
    config, layout = context.config, context.layout
    length = run_length(context)
    files = RunFiles(layout.run(name), context.config_sha256, sampling_facts(context.config.sampling), length.first)
    with joined(context.options.rank_timeout) as ranks, only_writer(layout.run(name)) if ranks.main else nullcontext():
        with make_trainer(context, ranks) as trainer:
            inputs += begin(trainer, context, name)
            trainer.mixer = make_mixer(trainer)
            train(trainer, files, length, name, fingerprint(context, inputs), context.options.report_to)
            if name != "probe" and ranks.main:
                export_policy(trainer.policy, layout.policy(name))
            if length.states_kept and ranks.main:
                shutil.rmtree(files.folder / STATES, ignore_errors=True)
        if ranks.main:
            facts = {"start": length.first} if length.first else {}
            files.finish(name, {"steps": config.steps, "seed": layout.seed, **facts})


def run_length(context: Context[Run]) -> RunLength:
    config = context.config
    own = {key: found for key in ("checkpoints", "keep_states") if (found := getattr(config, key, None)) is not None}
    if (method := getattr(config, "method", None)) and (kept := method.kept_states()):
        own |= {"keep_states": kept[0], "states_kept": kept[1]}
    return RunLength(
        config.steps, config.checkpoint_every, config.key_every, context.options.save_every, getattr(config, "start", None) or 0, **own
    )


@contextmanager
def make_trainer(context: Context[Run], ranks: Ranks) -> Iterator[Trainer]:
    """The loaded parts, for plain GRPO."""
    config, layout = context.config, context.layout
    device = pick_device(context.options.device)
    first = run_length(context).first
    policy = Walk(layout.probe, first, device).policy if first else initial_policy(context, device)
    problems = read_problems(layout.problems, "train")
    check_prompts(config.engine, config.sampling, policy, problems)
    reference = _reference(context, policy) if config.grpo.kl_coef > 0 else None
    updater = Updater(policy, config.grpo, config.sampling, reference, ranks, context.options.recompute_activations)
    updater.optimizer.run_steps = config.steps
    with Verifier(config.verifier, context.options.workers) as verifier:
        engine = make_engine(config.engine, config.sampling, policy, context.kept_bytes)
        yield Trainer(policy, engine, verifier, updater, problems, config.grpo, layout.seed, OnPolicy(), ranks, first)


def initial_policy(context: Context[Run], device: str) -> Policy:
    config, layout = context.config, context.layout
    policy = load_policy(layout.initial_policy, config.dtype, device)
    if config.lora:  # the seed's probe and guided runs start from the same adapter
        add_lora(policy.model, config.lora, layout.initial_policy, layout.seed)
    return policy


def begin(trainer: Trainer, context: Context[Run], name: str) -> str:
    """Of a run with a later first step: the probe's optimizer as it was there, or fresh moments and a warm-up.

    Returns what the run then begins with, to name it by; "" of any other run. Raises ArtifactError if the kept state is damaged.
    """
    if not trainer.first:
        return ""
    probe, optimizer = context.layout.probe, trainer.updater.optimizer
    found = load_kept_state(kept_state(probe, trainer.first), optimizer, trainer.ranks)
    if found:
        trainer.updater.take_over()
        said = "its optimizer's state there"
    else:
        steps = getattr(context.config, "start_warmup", None) or 0
        optimizer.fresh = Warmup(trainer.first, steps)
        said = f"fresh moments, since no state of its optimizer was kept there; the learning rate rises over {steps} steps"
    if trainer.ranks.main:
        print(f"{name}: begins at step {trainer.first} of {probe}, with {said}", file=sys.stderr)
    return f" {read_record(checkpoint(probe, trainer.first)).weights_sha256} {found}"


def _reference(context: Context[Run], policy: Policy) -> PreTrainedModel:
    """The initial policy: a second copy, or with LoRA the frozen base that is loaded already."""
    config = context.config
    return policy.model if config.lora else load_policy(context.layout.initial_policy, config.dtype, str(policy.device)).model


def fingerprint(context: Context[Run], inputs: str) -> str:
    """What a saved state must share with this run to be resumed: configuration as far as it counts, seed, policy, problems, `inputs`."""
    prepared = sorted((name, entry["sha256"]) for name, entry in read_manifest(context.layout.prepare)["files"].items())
    return sha256_text(f"{what_counts(context.config)} {context.layout.seed} {prepared} {inputs}")
