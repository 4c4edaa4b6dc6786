"""prepare: problems with rendered prompts and their images, and the initial policy as a Hugging Face directory."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from npo_pipeline.config import PrepareStage
from npo_pipeline.errors import DataError
from npo_pipeline.records import Problem
from npo_pipeline.settings import ColdStartConfig, TaskConfig
from npo_pipeline.stages.cli import Context, parser, run_stage
from npo_pipeline.storage.hub import hub_commit
from npo_pipeline.storage.images import FOLDER as IMAGE_FOLDER
from npo_pipeline.storage.images import store_image
from npo_pipeline.storage.lock import only_writer
from npo_pipeline.storage.manifest import NAME, write_manifest
from npo_pipeline.storage.parquet import PROBLEMS, problem_row, write_table
from npo_pipeline.tasks.checks import check_source
from npo_pipeline.tasks.prompts import MARK, render_prompt
from npo_pipeline.tasks.raw import RawProblem
from npo_pipeline.tasks.sources import describe_sources, load_cold_start, load_problems

if TYPE_CHECKING:
    from npo_pipeline.policy.policy import Policy


def run(context: Context[PrepareStage]) -> None:
    task, folder = context.config.task, context.layout.prepare
    check_source(task)
    train, held_out = load_problems(task)
    cold = load_cold_start(task, context.config.policy.cold_start.examples) if context.config.policy.cold_start.steps else []
    with only_writer(context.layout.root, ".prepare.lock"):
        (folder / NAME).unlink(missing_ok=True)
        write_all(context, train, held_out, cold)


def write_all(context: Context[PrepareStage], train: list[RawProblem], held_out: list[RawProblem], cold: list[RawProblem]) -> None:
    """Problems, images, policy and manifest. `cold` are the examples of the cold start."""
    from npo_pipeline.policy.policy import export_policy

    task, folder = context.config.task, context.layout.prepare
    policy = initial_policy(context, [*train, *cold])
    shutil.rmtree(folder, ignore_errors=True)
    problems, examples = render([*train, *held_out], task, policy, folder), render(cold, task, policy, folder)
    warm_up(policy, examples, context.config.policy.cold_start, context.config.policy.seed)
    pixels = policy.vision.settings if policy.vision else {}
    write_table(context.layout.problems, [problem_row(problem) for problem in problems], PROBLEMS, context.config_sha256, pixels)
    export_policy(policy, context.layout.initial_policy)
    files = [context.layout.problems, *context.layout.initial_policy.rglob("*"), *(folder / IMAGE_FOLDER).rglob("*")]
    facts = {"train": len(train), "eval": len(held_out), "sources": describe_sources(task), **pixels}
    if context.config.policy.source == "pretrained":
        facts["policy"] = {"revision": context.config.policy.revision, "commit": policy_commit(context)}
    write_manifest(folder, "prepare", context.config_sha256, files, facts)


def initial_policy(context: Context[PrepareStage], texts: list[RawProblem]) -> "Policy":
    """Build or load the policy that the configuration names."""
    from npo_pipeline.policy.gguf import load_gguf
    from npo_pipeline.policy.policy import load_policy
    from npo_pipeline.policy.scratch import build_scratch
    from npo_pipeline.runtime import pick_device

    settings, device = context.config.policy, pick_device(context.options.device)
    if settings.source == "scratch":
        template = context.config.task.prompt.template.replace(MARK, "")
        words = [template.replace("{question}", raw.question) + raw.answer for raw in texts]
        policy = build_scratch(words, settings.scratch, settings.seed, settings.vision)
        policy.model.to(device)
        return policy
    if settings.source == "gguf":
        return load_gguf(settings.path or "", settings.dtype)
    policy = load_policy(settings.path or "", settings.dtype, device, policy_commit(context) or settings.revision, "policy.path")
    if policy.vision and settings.vision:
        policy.vision.limit(settings.vision.min_pixels, settings.vision.max_pixels)
    return policy


def policy_commit(context: Context[PrepareStage]) -> str | None:
    """Of a policy from the hub; None of a local one, or where the hub did not tell."""
    settings = context.config.policy
    path = settings.path or ""
    return None if Path(path).expanduser().exists() else hub_commit(path, settings.revision, "model")


def render(raws: list[RawProblem], task: TaskConfig, policy: "Policy", folder: Path) -> list[Problem]:
    """Problems with the prompt as this policy reads it; their images are put below the prepare folder `folder`."""
    return [_rendered(raw, task, policy, folder) for raw in raws]


def _rendered(raw: RawProblem, task: TaskConfig, policy: "Policy", folder: Path) -> Problem:
    images = tuple(store_image(image.read(), folder) for image in raw.images)
    placeholder = policy.vision.placeholder if policy.vision else ""
    prompt, ids = render_prompt(raw.question, task.prompt, policy.tokenizer, len(images), placeholder)
    problem = Problem(**vars(raw) | {"images": images}, prompt=prompt, prompt_token_ids=ids)
    check_fits(problem, policy)
    return problem


def check_fits(problem: Problem, policy: "Policy") -> None:
    """Prompts are never truncated. Raises DataError for one that is longer than the policy can read, or has not all its images."""
    try:
        length = len(policy.prompt(problem.prompt_token_ids, problem.images))
        check_placeholders(problem, policy)
    except DataError as error:
        raise DataError(f"problem {problem.problem_id}: {error}") from None
    most = getattr(policy.model.config.get_text_config(), "max_position_embeddings", None)
    if most is not None and length >= most:
        pixels = ", lower policy.vision.max_pixels" if problem.images else ""
        raise DataError(
            f"problem {problem.problem_id}: its prompt has {length} tokens, expected fewer than the {most} that the policy reads "
            f"(max_position_embeddings), since prompts are never truncated; shorten or remove it{pixels}"
        )


def check_placeholders(problem: Problem, policy: "Policy") -> None:
    """Raises DataError for a prompt with a token that stands for pixels beside those of its images: a forward would look for more."""
    found = [token for token in problem.prompt_token_ids if token in policy.forbidden_ids]
    if len(found) != len(problem.images):
        names = ", ".join(sorted(set(policy.tokenizer.convert_ids_to_tokens(found))))
        raise DataError(f"its prompt holds {names} {len(found)} times for {len(problem.images)} images; take that text out of the question")


def warm_up(policy: "Policy", examples: list[Problem], settings: ColdStartConfig, seed: int) -> None:
    """The cold start on reference answers, where one is configured."""
    if not examples:
        return
    from npo_pipeline.policy.cold_start import cold_start

    prompts = [policy.prompt(example.prompt_token_ids, example.images) for example in examples]
    rows = [(prompt, policy.response(example.answer)) for prompt, example in zip(prompts, examples, strict=True)]
    cold_start(policy, rows, settings, seed)


if __name__ == "__main__":
    run_stage(parser("prepare", __doc__), PrepareStage, run)
