"""A run that TRL's own trainer made, in every form that it may lie there: adopted, guided from its middle, evaluated, reported."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
import trl_run
from in_process import Experiment
from transformers import AutoModelForCausalLM
from workflow_runner import TINY, Workflow

from npo_pipeline.errors import ArtifactError
from npo_pipeline.policy.checkpoints import Walk
from npo_pipeline.storage.checkpoints import read_records
from npo_pipeline.storage.guides import read_outcomes
from npo_pipeline.storage.run_files import read_jsonl

pytestmark = pytest.mark.slow

PASS_TWO = ("guide", "plan-npo", "guided-npo", "evaluate", "report")


@pytest.fixture(scope="module")
def prepared(template: Workflow) -> Path:
    return template.results / "prepare"


@pytest.fixture(scope="module")
def trained(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints 2 and 4, and the logged completions of all four steps."""
    out = tmp_path_factory.mktemp("trl")
    trl_run.train(prepared, out, completions=True)
    return out


@pytest.fixture(scope="module")
def adapted(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with LoRA: checkpoints are adapters."""
    out = tmp_path_factory.mktemp("peft")
    trl_run.train(prepared, out, lora=True)
    return out


def adopting(root: Path, prepared: Path, adopt: str, more: str = "") -> Experiment:
    policy = f"policy.source=pretrained policy.path='{prepared}/policy' policy.cold_start.steps=0"
    return Experiment(root, f"{TINY} {policy} probe.adopt='{adopt}' guided.start=2 {more}", prepared)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return AutoModelForCausalLM.from_pretrained(folder).state_dict()


def is_guided(experiment: Experiment) -> None:
    """From its middle to its end, evaluated and reported."""
    rows = read_jsonl(experiment.root / "seed-0/npo/metrics.jsonl")
    assert [row["step"] for row in rows] == [2, 3]
    assert json.loads((experiment.root / "seed-0/npo/manifest.json").read_text())["start"] == 2
    assert min(read_records(experiment.root / "seed-0/npo")) == 2
    report = (experiment.root / "report.html").read_text()
    assert "Guided runs began at step 2" in report


def test_without_completions(trained: Path, prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    experiment = adopting(tmp_path / "x", prepared, f"{trained}/checkpoint-*")
    experiment.run_all("adopt", *PASS_TWO)
    said = capsys.readouterr().err
    assert "64 responses of at most 12 tokens, 768 tokens at most" in said
    assert "npo: begins at step 2 of" in said
    assert "fresh moments" in said
    probe = experiment.root / "seed-0/probe"
    assert list(read_records(probe)) == [0, 2, 4]
    assert {o.step for o in read_outcomes(probe, 0, 4)} == {2, 3}
    file = probe / "checkpoints/step-000002/model.safetensors"
    assert file.is_symlink()
    assert file.resolve() == (trained / "checkpoint-2/model.safetensors").resolve()
    theirs = weights(trained / "checkpoint-4")
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in Walk(probe, 4).policy.model.state_dict().items())
    logged = [
        row["reward"] for row in json.loads((trained / "checkpoint-4/trainer_state.json").read_text())["log_history"] if "reward" in row
    ]
    assert [row["reward/mean"] for row in read_jsonl(probe / "metrics.jsonl")] == pytest.approx(logged)
    is_guided(experiment)


def test_with_completions(trained: Path, prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The run's own roll-outs are the mistake pool, judged as TRL's reward function did."""
    experiment = adopting(tmp_path / "x", prepared, f"{trained}/checkpoint-*", f"probe.completions='{trained}/completions'")
    experiment.run_all("adopt", *PASS_TWO)
    said = capsys.readouterr().err
    assert "task.verifier judges 128 of 128 as that run did" in said
    assert "128 of 128 logged completions answer" in said
    table = pq.read_table(trained / "completions/completions_00003.parquet").to_pylist()
    right = {row["prompt"]: [r["reward"] for r in table if r["prompt"] == row["prompt"]] for row in table}
    outcomes = read_outcomes(experiment.root / "seed-0/probe", 2, 3)
    assert sorted(o.accuracy for o in outcomes) == pytest.approx(sorted(sum(found) / len(found) for found in right.values()))
    is_guided(experiment)


def test_adapters(adapted: Path, prepared: Path, tmp_path: Path) -> None:
    lora = "policy.lora={rank:4,alpha:8,target_modules:[q_proj,v_proj]}"
    experiment = adopting(tmp_path / "x", prepared, f"{adapted}/checkpoint-*", lora)
    experiment.run_all("adopt", *PASS_TWO)
    is_guided(experiment)
    from peft import PeftModel

    base = AutoModelForCausalLM.from_pretrained(prepared / "policy")
    merged = PeftModel.from_pretrained(base, str(adapted / "checkpoint-4")).merge_and_unload().state_dict()
    own = dict(Walk(experiment.root / "seed-0/probe", 4).policy.effective_weights())
    assert all(torch.allclose(tensor, merged[name], atol=1e-6) for name, tensor in own.items())


def test_layout_of_verl(trained: Path, prepared: Path, tmp_path: Path) -> None:
    """As its model merger leaves it, with roll-out dumps as JSONL whose prompts have no special tokens."""
    run = tmp_path / "verl"
    for step in (2, 4):
        place = run / f"global_step_{step}/actor/huggingface"
        shutil.copytree(trained / f"checkpoint-{step}", place)
        (place / "trainer_state.json").unlink()
    (run / "rollouts").mkdir()
    for step in range(1, 5):
        rows = pq.read_table(trained / f"completions/completions_{step:05}.parquet").to_pylist()
        lines = [{"input": r["prompt"], "output": r["completion"], "score": r["reward"], "step": step} for r in rows]
        (run / f"rollouts/{step}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    log = [{"step": step, "data": {"critic/rewards/mean": step / 10, "actor/entropy": 1.0}} for step in range(1, 5)]
    (run / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log))
    more = f"probe.completions='{run}/rollouts' probe.log='{run}/log.jsonl'"
    experiment = adopting(tmp_path / "x", prepared, f"{run}/global_step_*", more)
    experiment.run_all("adopt", *PASS_TWO)
    assert [row["reward/mean"] for row in read_jsonl(experiment.root / "seed-0/probe/metrics.jsonl")] == [0.1, 0.2, 0.3, 0.4]
    is_guided(experiment)


def test_branches_of_a_repository_in_the_hubs_cache(trained: Path, prepared: Path, tmp_path: Path) -> None:
    cache = tmp_path / "models--somebody--run"
    (cache / "refs").mkdir(parents=True)
    for branch, step, commit in (("main", 4, "a" * 40), ("step-2", 2, "b" * 40), ("step-4", 4, "a" * 40)):
        (cache / f"refs/{branch}").write_text(commit)
        shutil.copytree(trained / f"checkpoint-{step}", cache / "snapshots" / commit, dirs_exist_ok=True)
    experiment = adopting(tmp_path / "x", prepared, str(cache), "probe.adopt_copy=true")
    assert list(experiment.stages["adopt"]["adopted"]) == [2, 4]
    experiment.run_all("adopt", *PASS_TWO)
    assert not (experiment.root / "seed-0/probe/checkpoints/step-000004/model.safetensors").is_symlink()
    is_guided(experiment)


def test_the_workflow_notices_what_changes(trained: Path, template: Workflow, tmp_path: Path) -> None:
    """In the folder of an experiment that had a probe of its own; and back to that."""
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    shutil.copytree(template.folder, tmp_path / "x")
    workflow, own = Workflow(tmp_path / "x"), "results/default/seed-0/probe/manifest.json"
    overrides = f"probe.adopt={run}/checkpoint-* guided.start=2"
    planned = workflow.planned(overrides=overrides)
    assert {"adopt seed=0", "guided seed=0 method=npo", "report"} <= planned
    assert not planned & {"prepare", "probe seed=0", "evaluate seed=0 policy=initial"}
    assert workflow.run(own, overrides=overrides) == {"adopt seed=0"}
    assert workflow.planned(own, overrides=overrides) == set()
    file = run / "checkpoint-2/model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert workflow.planned(own, overrides=overrides) == {"adopt seed=0"}
    assert workflow.planned(own) == {"probe seed=0"}
    with pytest.raises(ArtifactError, match=r"step-000002: its weights have sha256 [0-9a-f]{12}\.\.\., expected"):
        Walk(workflow.results / "seed-0/probe", 2)
