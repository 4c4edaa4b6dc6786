"""Problems with the prompt as a policy reads it, and their images beside them."""

from pathlib import Path

from npo_pipeline.configuration.settings import TaskConfig
from npo_pipeline.errors import ConfigError, DataError
from npo_pipeline.policy.policy import Policy, embedding_rows
from npo_pipeline.records import Image, Problem
from npo_pipeline.storage.images import UnreadableImage, store_image
from npo_pipeline.tasks.prompts import check_prompt, render_prompt
from npo_pipeline.tasks.raw import RawProblem, SourceImage
from npo_pipeline.tasks.rows.messages import turns_of


def render(raws: list[RawProblem], task: TaskConfig, policy: Policy, folder: Path) -> list[Problem]:
    """Problems with the prompt as this policy reads it; their images are put below the prepare folder `folder`."""
    check_prompt(task.prompt, policy.tokenizer)
    return [_rendered(raw, task, policy, folder) for raw in raws]


def _rendered(raw: RawProblem, task: TaskConfig, policy: Policy, folder: Path) -> Problem:
    images = tuple(_stored(raw, image, folder) for image in raw.images)
    placeholder = policy.vision.placeholder if policy.vision else ""
    try:
        prompt, ids = render_prompt(
            raw.question, task.prompt, policy.tokenizer, len(images), placeholder, policy.stop_ids, turns=turns_of(raw.metadata)
        )
    except (ConfigError, DataError) as error:
        raise type(error)(f"problem {raw.problem_id}: {error}") from None
    problem = Problem(**vars(raw) | {"images": images}, prompt=prompt, prompt_token_ids=ids)
    check_fits(problem, policy)
    return problem


def _stored(raw: RawProblem, image: SourceImage, folder: Path) -> Image:
    try:
        return store_image(image.read(), folder)
    except UnreadableImage as error:
        raise DataError(f"problem {raw.problem_id}: its image {image.name} cannot be read ({error}); put a whole one there") from None


def check_fits(problem: Problem, policy: Policy) -> None:
    """Prompts are never truncated. Raises DataError for one that is longer than the policy can read, or has not all its images.

    Raises ConfigError for one with a token that the model does not know.
    """
    _check_known(problem, policy)
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


def _check_known(problem: Problem, policy: Policy) -> None:
    """A tokenizer may be of another model, or have tokens that the embedding was never resized for: a forward would read beyond it."""
    if not problem.prompt_token_ids:
        raise DataError(
            f"problem {problem.problem_id}: its prompt has no token, the tokenizer drops all of it; mend or remove the question"
        )
    rows = embedding_rows(policy.model)
    if max(problem.prompt_token_ids) >= rows:
        token = max(problem.prompt_token_ids)
        name = policy.tokenizer.convert_ids_to_tokens(token)
        raise ConfigError(
            f"policy.path: the prompt of problem {problem.problem_id} holds {name!r}, token {token}, "
            f"but the model's embedding has {rows} rows; resize it (resize_token_embeddings), or take the token out of the tokenizer"
        )


def check_placeholders(problem: Problem, policy: Policy) -> None:
    """Raises DataError for a prompt with a token that stands for pixels beside those of its images: a forward would look for more."""
    found = [token for token in problem.prompt_token_ids if token in policy.forbidden_ids]
    if len(found) != len(problem.images):
        names = ", ".join(sorted(set(policy.tokenizer.convert_ids_to_tokens(found))))
        raise DataError(f"its prompt holds {names} {len(found)} times for {len(problem.images)} images; take that text out of the question")
