"""The roll-outs that an adopted run logged, as those of the probe: matched to the problems by their prompts, and judged here.

    TRL      completions_00001.parquet (log_completions): step, prompt, completion, a column per reward function, advantage
    verl     1.jsonl (trainer.rollout_data_dir): input, output, score, step
    ours     step-000000.parquet: problem_id, step, response_text, reward

The first two call the first update step 1. Tokens and log-probs are in none of the others, and stay null.
"""

import json
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
from npo_pipeline.shown import one_line, short_repr
from npo_pipeline.storage.parquet import prompt_digest
from npo_pipeline.tasks.judging.verify import Verdict, Verifier
from npo_pipeline.tasks.templates import chat_text

KEY = "probe.completions"
NO_REWARD = ("step", "prompt", "completion", "advantage", "images")


@dataclass(frozen=True)
class Logged:
    """A response of a step, to a prompt (its text, or a conversation) or to a problem that is named; `reward` None: not told."""

    step: int
    prompt: Any
    response: str
    reward: float | None


def read_completions(completions: str) -> list[Logged]:
    """Raises DataError for files that are not there or not of a kind above."""
    files = completion_files(completions)
    if not files:
        raise DataError(f"{KEY}={completions}: no .parquet or .jsonl file; expected TRL's completions or verl's roll-out dumps")
    return [found for file in files for found in (_of_parquet(file) if file.suffix == ".parquet" else _of_jsonl(file))]


def _of_parquet(file: Path) -> Iterator[Logged]:
    try:
        names = pq.read_schema(file).names
        ours = {"problem_id", "step", "response_text", "reward"} <= set(names)
        rows = pq.read_table(file, columns=["problem_id", "step", "response_text", "reward"] if ours else None).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{file}: not a readable Parquet file ({one_line(str(error))})") from None
    if not ours and not {"step", "prompt", "completion"} <= set(names):
        raise DataError(f"{file}: columns {', '.join(names)}; expected step, prompt and completion, as TRL logs them")
    for row in rows:
        if ours:
            yield Logged(row["step"], ("id", row["problem_id"]), row["response_text"], row["reward"])
        else:
            rewards = [value for key, value in row.items() if key not in NO_REWARD and type(value) in (int, float)]
            yield Logged(row["step"] - 1, row["prompt"], _said(row["completion"]), rewards[0] if len(rewards) == 1 else None)


def _of_jsonl(file: Path) -> Iterator[Logged]:
    for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        try:
            row = json.loads(line)
            step = int(row.get("step", file.stem)) - 1
            score = row.get("score")
            yield Logged(step, row["input"], str(row["output"]), float(score) if type(score) in (int, float) else None)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            reason = one_line(f"{type(error).__name__}: {error}")
            raise DataError(f"{file}: line {number} ({reason}); expected input, output, score and step, as verl dumps them") from None


def _said(completion: Any) -> str:
    """The text of a completion, or of the turns that it is made of."""
    return completion if isinstance(completion, str) else "".join(str(turn.get("content") or "") for turn in completion or [])


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
            prompt = chat_text(prompt, self.tokenizer) if self.tokenizer.chat_template else "\n".join(str(t.get("content")) for t in prompt)
        return self.by_text.get(prompt.strip() if isinstance(prompt, str) else prompt)

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
