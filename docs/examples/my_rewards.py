"""A reward of one's own: the right number counts most, its form a little.

    snakemake --cores 2 --config overrides="task=dataset task.train=docs/examples/gsm8k_messages.jsonl
        task.question_column=messages task.verifier.kind=python task.verifier.function=docs/examples/my_rewards.py:score ..."

A response is text from a model: cut it and compare it, never evaluate it.
"""

import re

NUMBER = re.compile(r"-?[0-9][0-9,]*(?:\.[0-9]+)?")


def score(text: str, reference: str, metadata: dict) -> float:
    """1.0 for the reference's number after ####, as the system turn asks; 0.5 for that number at the end of another text."""
    found = last_number(text)
    if found is None or found != last_number(reference):
        return 0.0
    return 1.0 if "####" in text else 0.5


def last_number(text: str) -> float | None:
    numbers = NUMBER.findall(text)
    return float(numbers[-1].replace(",", "")) if numbers else None
