"""Value checks of a task: its source, its prompt and its verifier."""

from npo_pipeline.configuration import settings as s
from npo_pipeline.configuration.checks.require import one_of, require


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
            task.verifier.kind != "reasoning_gym", "task.verifier.kind", task.verifier.kind, "exact or math, since the task is a dataset"
        )


def check_verifier(verifier: s.VerifierConfig, key: str = "verifier") -> None:
    one_of(f"{key}.kind", verifier.kind, ("exact", "math", "reasoning_gym"))
    one_of(f"{key}.extract", verifier.extract, s.EXTRACTORS)
    require(verifier.timeout_seconds > 0, f"{key}.timeout_seconds", verifier.timeout_seconds, "more than 0")
