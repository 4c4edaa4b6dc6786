"""A dataset and a trajectory file that somebody hostile wrote, through the real stages: verdicts hold, nothing runs, the run goes on."""

import json
import re
from collections import Counter
from pathlib import Path

import datasets
import pytest
from workflow_runner import Workflow

pytestmark = pytest.mark.slow

# Each question is one that breaks some program; the answers are plain numbers, so that right responses are known.
QUESTIONS = [
    "<script>window.pwned = 1</script>", "</pre><img src=x onerror=alert(1)>", "\x1b[2J\x1b]0;title\x07", "\u202eabc", "\x00",
    "{question} {image}", "{{ 7*7 }} {% for x in y %}", "${oc.env:HOME}", "$(touch {proof})", "`touch {proof}`", "'; touch {proof} #",
    "../../etc/passwd", "%s%n%x", "{wildcards.seed}", "\\boxed{" * 20, "a\u2028b\u0085c", "\ufeff", "=cmd|' /C calc'!A0", "| a | b |",
]  # fmt: skip
ATTACKS = [
    "10^{10^{10}}", "((((9!)!)!)!)!", "\\frac{" * 3000, "9" * 1_000_000, "1e999999", "__import__('os').system('touch {proof}')", "\x1b[2J7",
    "<script>window.pwned = 1</script>", "{" * 50_000, "1," * 50_000, "open('{proof}', 'w')", "",
]  # fmt: skip
SMALL = "policy.cold_start.steps=5 policy.cold_start.examples=16 grpo.prompts_per_step=4 grpo.group_size=4 probe.steps=2"


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_hostile_dataset_and_hostile_responses(tmp_path: Path) -> None:
    workflow, proof = Workflow(tmp_path), tmp_path / "proof"
    questions = [text.replace("{proof}", str(proof)) + str(i) for i, text in enumerate(QUESTIONS)]
    rows = [{"question": text, "answer": str(i), "level": text[:20]} for i, text in enumerate(questions)]
    right = [{"question": row["question"], "response": f"{row['answer']}.0"} for row in rows]
    wrong = [{"question": questions[i], "response": text.replace("{proof}", str(proof))} for i, text in enumerate(ATTACKS)]
    data, responses = write(tmp_path / "rows.jsonl", rows), tmp_path / "responses.jsonl"
    overrides = (
        f"task=dataset task.train={data} task.difficulty_key=level task.train_size=null task.eval_size=2 task.verifier.timeout_seconds=1"
        f" {SMALL} method=[luffy] method.luffy.demonstrations.policy={responses}"
    )
    target = "results/default/seed-0/luffy/manifest.json"

    write(responses, [*wrong, *right, {"question": questions[0], "response": "\ud800"}])
    refused = workflow.call(target, overrides=overrides)
    assert f"line {len(wrong) + len(right) + 1}: `response` holds half a surrogate pair" in refused.stdout, refused.stdout
    assert "Traceback" not in refused.stdout

    write(responses, [*wrong, *right])
    assert workflow.run(target, overrides=overrides) == {"demonstrate seed=0 method=luffy", "guided seed=0 method=luffy"}
    assert not proof.exists()
    shards = datasets.load_dataset("parquet", data_files=str(workflow.results / "seed-0/luffy/demonstrations/*.parquet"), split="train")
    verdicts = {row["response_text"]: row["verified"] for row in shards}
    assert Counter(verdicts[row["response"]] for row in right if row["response"] in verdicts)[False] == 0
    assert not any(verdicts.get(str(row["response"]), False) for row in wrong)
    assert sum(verdicts.values()) >= 8  # of as many problems, at most, as two steps of four have
    for log in (workflow.results / "logs").rglob("*.log"):
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202e]", log.read_text().replace("\r", "")), log
