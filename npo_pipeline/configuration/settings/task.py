"""`task`: where problems come from, how they are asked, and who judges the answers."""

from dataclasses import dataclass
from typing import Any

EXTRACTORS = ("auto", "whole", "last_line", "answer_tag", "hash", "boxed", "last_number")
RULES = 3  # raise it when `math` or an extractor judges otherwise: what was judged by the old ones is then made anew


@dataclass
class PromptConfig:
    """How a question is asked. The rendered prompt is part of a problem: no later stage renders it again."""

    style: str  # "chat" (the tokenizer's chat template), "plain" (`template` alone), or "auto": chat where there is one
    template: str  # holds {question}; {image} where an image goes, those without a place of their own come first
    system: str | None  # system message of the chat style


@dataclass
class VerifierConfig:
    """Who says whether a response is right."""

    kind: str  # "exact", "math" (math-verify), "reasoning_gym" (the task's own scorer) or "python" (`function`)
    extract: str  # where the answer stands in a response: one of EXTRACTORS (npo_pipeline.tasks.judging.extract)
    timeout_seconds: float  # of CPU, that judging one answer may take; an answer that takes longer is wrong
    function: str | None = None  # python: my_rewards.py:score or pkg.mod:score, a function of (text, reference, metadata)
    function_sha256: str | None = None  # of its file, filled in when the stages are resolved: a change of it is a change of them
    rules: int | None = None  # by which `math` and extraction judge (RULES), filled in likewise; other kinds have none


@dataclass
class TaskConfig:
    """The problems: fixed splits, a pure function of these settings and of the files they name."""

    source: str  # "reasoning_gym", "dataset" or "easy_vqa"
    name: str  # reasoning-gym dataset, or a label
    config: dict[str, Any]  # reasoning-gym parameters
    cold_start_config: dict[str, Any]  # parameters that differ for the cold start's problems
    train: str | None  # dataset: a .jsonl/.parquet file, a saved `datasets` folder, or a hub name
    eval: str | None  # as `train`; None: split off from it
    train_split: str  # split to take where the source has several
    eval_split: str  # the same for `eval`
    revision: str | None  # hub revision
    # dataset: a text, or a conversation's turns (npo_pipeline.tasks.rows.messages); "prompt.0.content" reaches into nested ones, also below
    question_column: str
    answer_column: str  # what stands behind its last "####", if it has one, is the reference answer
    image_column: str | None  # dataset: an image, or a list of them: files beside the dataset, or bytes
    train_size: int | None  # problems to take; None: all (dataset only)
    eval_size: int | None  # as `train_size`
    seed: int  # of the choice of rows and of generated problems; a run's seed changes neither
    question_pattern: str | None  # regular expression; its first group becomes the question
    difficulty_key: str | None  # column or metadata key (npo_pipeline.tasks.fields.difficulty_label)
    prompt: PromptConfig
    verifier: VerifierConfig
