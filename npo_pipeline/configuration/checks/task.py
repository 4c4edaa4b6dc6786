"""Value checks of a task: its source, its prompt and its verifier."""

from npo_pipeline.configuration import settings as s
from npo_pipeline.configuration.checks.require import one_of, require
from npo_pipeline.configuration.reward_file import is_file_name, split_function


def check_task(task: s.TaskConfig) -> None:
    one_of("task.source", task.source, ("reasoning_gym", "dataset", "easy_vqa"))
    one_of("task.prompt.style", task.prompt.style, ("auto", "chat", "plain"))
    require("{question}" in task.prompt.template, "task.prompt.template", task.prompt.template, "a template that holds {question}")
    check_verifier(task.verifier, "task.verifier")
    for key, size in (("train_size", task.train_size), ("eval_size", task.eval_size)):
        require(size is None or size >= 1, f"task.{key}", size, "at least 1, or null for all")
    if task.source == "reasoning_gym":
        for key, size in (("train_size", task.train_size), ("eval_size", task.eval_size)):
            require(size is not None, f"task.{key}", size, "a number of problems to generate")
        require(task.image_column is None, "task.image_column", task.image_column, "null, since reasoning-gym has no images")
    else:
        own = task.source == "easy_vqa"
        require(own or bool(task.train), "task.train", task.train, "a .jsonl or .parquet file, a saved datasets folder, or a hub name")
        require(
            task.verifier.kind != "reasoning_gym",
            "task.verifier.kind",
            task.verifier.kind,
            "exact, math or python, since the task is a dataset",
        )


def check_verifier(verifier: s.VerifierConfig, key: str = "verifier") -> None:
    one_of(f"{key}.kind", verifier.kind, ("exact", "math", "reasoning_gym", "python"))
    _check_function(verifier, f"{key}.function")
    one_of(f"{key}.extract", verifier.extract, s.EXTRACTORS)
    require(verifier.timeout_seconds > 0, f"{key}.timeout_seconds", verifier.timeout_seconds, "more than 0")


def _check_function(verifier: s.VerifierConfig, key: str) -> None:
    if verifier.kind != "python":
        require(
            verifier.function is None,
            key,
            verifier.function,
            f"null, as its kind is {verifier.kind}, or the kind python",
        )
        return
    place, name = split_function(verifier.function or "")
    require(bool(place) and name.isidentifier(), key, verifier.function, "FILE.py:FUNCTION or MODULE:FUNCTION, such as my_rewards.py:score")
    named = is_file_name(place) or all(part.isidentifier() for part in place.split("."))
    require(named, key, verifier.function, "a file whose name ends in .py, or a module such as pkg.mod, before the colon")
