"""The roll-outs that an adopted run logged, as those of the probe: matched to the problems by their prompts, and judged here.

    TRL      completions_00001.parquet (log_completions): step, prompt, completion, a column per reward function, advantage
    verl     1.jsonl (trainer.rollout_data_dir): input, output, score, step
    ours     step-000000.parquet: problem_id, step, response_text, reward

The first two call the first update step 1. Tokens and log-probs are in none of the others, and stay null.
"""

import json
import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from npo_pipeline.configuration.adoption import completion_files
from npo_pipeline.errors import DataError
from npo_pipeline.records import Problem
from npo_pipeline.shown import is_text, one_line, short_repr
from npo_pipeline.storage.parquet import prompt_digest
from npo_pipeline.tasks.judging.verify import Verdict, Verifier
from npo_pipeline.tasks.templates import chat_text

KEY = "probe.completions"
OURS = ("problem_id", "step", "response_text", "reward")
NO_REWARD = ("step", "prompt", "completion", "advantage", "images")
UNREADABLE = (ValueError, KeyError, TypeError, OverflowError, RecursionError)  # what a row of another kind raises


@dataclass(frozen=True)
class Logged:
    """A response of a step, to a prompt (its text, or a conversation) or to a problem that is named; `reward` None: not told."""

    step: int
    prompt: Any
    response: str
    reward: float | None


def read_completions(completions: str) -> list[Logged]:
    """Raises DataError for files that are not there, not of a kind above, or hold nothing."""
    files = completion_files(completions)
    if not files:
        raise DataError(f"{KEY}={completions}: no .parquet or .jsonl file; expected TRL's completions or verl's roll-out dumps")
    found = [entry for file in files for entry in (_of_parquet(file) if file.suffix == ".parquet" else _of_jsonl(file))]
    if not found:
        empty = f"{files[0]} is empty" if len(files) == 1 else f"its {len(files)} files are empty"
        raise DataError(f"{KEY}={completions}: {empty}; name completions of that run, or leave {KEY} out")
    return found


def of_the_run(logged: Sequence[Logged], steps: int) -> tuple[list[Logged], str | None]:
    """Those of the steps [0, steps), and what is to be said of others. Raises DataError if there are only others."""
    kept = [entry for entry in logged if 0 <= entry.step < steps]
    if len(kept) == len(logged):
        return kept, None
    told = [entry.step + 1 for entry in logged]  # as logs count: by the update
    found = f"found {min(told)} to {max(told)}, expected 1 to {steps}"
    zero = "; if that log counts from 0, write each step one higher: its first is lost otherwise" if min(told) == 0 else ""
    if not kept:
        raise DataError(f"{KEY}: all are of steps outside of the run ({found}{zero}); name the completions of the run in probe.adopt")
    said = f"{len(logged) - len(kept)} of {len(logged)} logged completions are of steps outside of the run ({found}) and left out"
    return kept, f"{KEY}: {said}{zero}"


def _of_parquet(file: Path) -> Iterator[Logged]:
    try:
        names = pq.read_schema(file).names
        ours = set(OURS) <= set(names)
        rows = pq.read_table(file, columns=list(OURS) if ours else None).to_pylist()
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DataError(f"{file}: not a readable Parquet file ({one_line(str(error))})") from None
    if not ours and not {"step", "prompt", "completion"} <= set(names):
        raise DataError(f"{file}: columns {', '.join(names)}; expected step, prompt and completion, as TRL logs them")
    for number, row in enumerate(rows, 1):
        try:
            yield _of_ours(row) if ours else _of_trl(row)
        except UNREADABLE as error:
            raise DataError(f"{file}: row {number}: {_reason(error)}; leave the row out, or write it as it was logged") from None


def _of_jsonl(file: Path) -> Iterator[Logged]:
    # by new lines alone: other ends of a line, as U+2028, may stand within a text
    for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").split("\n"), 1):
        if not line.strip():
            continue
        try:
            yield _of_verl(json.loads(line), file.stem)
        except UNREADABLE as error:
            reason = f"{file}: line {number} ({_reason(error)})"
            raise DataError(f"{reason}; expected input, output, score and step, as verl dumps them") from None


def _reason(error: Exception) -> str:
    """A value's own error says all; of others, as of a key that is not there, the kind has to be told."""
    return one_line(str(error) if type(error) is ValueError else f"{type(error).__name__}: {error}")


def _of_ours(row: Mapping[str, Any]) -> Logged:
    return Logged(_step(row["step"]), ("id", row["problem_id"]), _said(row["response_text"], "response_text"), _reward(row["reward"]))


def _of_trl(row: Mapping[str, Any]) -> Logged:
    rewards = [value for key, value in row.items() if key not in NO_REWARD and type(value) in (int, float)]
    reward = _reward(rewards[0]) if len(rewards) == 1 else None
    return Logged(_step(row["step"]) - 1, _asked(row["prompt"], "prompt"), _said(row["completion"], "completion"), reward)


def _of_verl(row: Any, file_step: str) -> Logged:
    if not isinstance(row, dict):
        raise ValueError(f"found a {type(row).__name__}, expected an object")
    step = _step(row.get("step", file_step)) - 1
    return Logged(step, _asked(row["input"], "input"), _said(row["output"], "output"), _reward(row.get("score")))


def _step(value: Any) -> int:
    """A whole number, which older loggers write as text."""
    if type(value) is int:
        return value
    if type(value) is float and value.is_integer():
        return int(value)
    if isinstance(value, str) and re.fullmatch(r"\d{1,18}", value):
        return int(value)
    raise ValueError(f"step is {short_repr(value)}, expected a whole number")


def _reward(value: Any) -> float | None:
    """Raises OverflowError for more digits than a float holds."""
    return float(value) if type(value) in (int, float) and math.isfinite(value) else None


def _asked(value: Any, key: str) -> Any:
    """A prompt's text, or the turns that it is made of."""
    if isinstance(value, str) or (isinstance(value, list) and value and all(isinstance(turn, dict) and "role" in turn for turn in value)):
        return value
    raise ValueError(f"{key} is {short_repr(value)}, expected text or a conversation")


def _said(value: Any, key: str) -> str:
    """The text of a response, or of the turns that it is made of."""
    turns = [{"content": value}] if isinstance(value, str) else value
    if not isinstance(turns, list) or not turns or not all(isinstance(turn, dict) and "content" in turn for turn in turns):
        raise ValueError(f"{key} is {short_repr(value)}, expected text or a conversation's turns")
    texts = [turn["content"] or "" for turn in turns]
    if odd := [text for text in texts if not isinstance(text, str)]:
        raise ValueError(f"{key} holds {short_repr(odd[0])}, expected text")
    if not is_text(text := "".join(texts)):
        raise ValueError(f"{key} holds half a surrogate pair, expected text that can be written as UTF-8")
    return text


Member = tuple[Problem, Logged, Verdict]  # of a group


class Prompts:
    """The training problems by what a run's log may call them: the prompt as rendered, or without its special tokens, or the id."""

    def __init__(self, problems: Sequence[Problem], tokenizer: Any) -> None:
        self.problems, self.tokenizer = problems, tokenizer
        self.by_text: dict[Any, Problem] = {("id", problem.problem_id): problem for problem in problems}
        for problem in reversed(problems):  # of equal prompts the first
            self.by_text[str(tokenizer.decode(problem.prompt_token_ids, skip_special_tokens=True)).strip()] = problem
            self.by_text[problem.prompt.strip()] = problem

    def find(self, prompt: Any) -> Problem | None:
        if isinstance(prompt, list):
            prompt = self._text(prompt)
        return self.by_text.get(prompt.strip() if isinstance(prompt, str) else prompt)

    def _text(self, turns: list[dict[str, Any]]) -> str:
        if not self.tokenizer.chat_template:
            return "\n".join(str(turn.get("content")) for turn in turns)
        try:
            return chat_text(turns, self.tokenizer)
        except Exception as error:  # a template is a program of somebody else's, which raises anything
            reason = one_line(f"{type(error).__name__}: {error}")
            raise DataError(
                f"{KEY}: the chat template of policy.path cannot write {short_repr(turns)} ({reason}); log prompts as text"
            ) from None

    def match(self, logged: Sequence[Logged]) -> list[tuple[Logged, Problem]]:
        """Those that answer a training prompt. Raises DataError if none does."""
        found = [(entry, problem) for entry in logged if (problem := self.find(entry.prompt))]
        if not found:
            raise DataError(f"{KEY}: {self._why_none(logged)}")
        return found

    def _why_none(self, logged: Sequence[Logged]) -> str:
        asked = next((str(entry.prompt) for entry in logged), "")
        count = f"none of its {len({str(entry.prompt) for entry in logged})} prompts is a training prompt of this task"
        if any(problem.question in asked for problem in self.problems):
            ours = short_repr(self.problems[0].prompt)
            return f"{count}, though the questions are: that run read {short_repr(asked)}, here it is {ours}; set task.prompt as there"
        return f"{count}: completions of another task, the first asks {short_repr(asked)}; set task as that run had it"


def imported(
    matched: Sequence[tuple[Logged, Problem]], verifier: Verifier, policies: Mapping[int, str]
) -> tuple[dict[int, list[Any]], str]:
    """Rows of the roll-out files by step; and how this verifier's verdicts agree with the log's rewards, as half a sentence.

    `policies` names the kept checkpoints, by step: the row's own policy where it is one of them.
    """
    verdicts = verifier.judge([(problem, entry.response) for entry, problem in matched])
    groups: dict[tuple[int, str], list[Member]] = defaultdict(list)
    for (entry, problem), verdict in zip(matched, verdicts, strict=True):
        groups[entry.step, problem.problem_id].append((problem, entry, verdict))
    rows: dict[int, list[Any]] = defaultdict(list)
    for (step, _), members in groups.items():
        accuracy = sum(verdict.verified for _, _, verdict in members) / len(members)
        rows[step] += [_row(slot, member, accuracy, policies.get(step)) for slot, member in enumerate(members)]
    judged = [(entry.reward, verdict.reward) for (entry, _), verdict in zip(matched, verdicts, strict=True) if entry.reward is not None]
    return rows, agreement(judged)


def agreement(judged: Sequence[tuple[float, float]]) -> str:
    """Of (the log's, this verifier's) rewards. Example: "task.verifier judges 60 of 64 as that run did"."""
    if not judged:
        return "its rewards are not known, or of several functions: task.verifier's verdicts count"
    same = sum(abs(theirs - ours) < 1e-6 for theirs, ours in judged)
    wrong = "" if same == len(judged) else "; set task.verifier as that run judged, if that is meant"
    return f"task.verifier judges {same} of {len(judged)} as that run did{wrong}"


def _row(slot: int, member: Member, accuracy: float, policy_sha256: str | None) -> dict[str, Any]:
    problem, entry, verdict = member
    return {
        "problem_id": problem.problem_id,
        "sample_index": slot,
        "prompt_token_ids": list(problem.prompt_token_ids),
        "reward": verdict.reward,
        "verified": verdict.verified,
        "response_text": entry.response,
        "prompt_sha256": prompt_digest(problem.prompt, problem.images),
        "policy_sha256": policy_sha256,
        "images": [],
        "step": entry.step,
        "slot": slot,
        "source": "on_policy",
        "group_accuracy": accuracy,
    }
