"""The whole pipeline on problems with images: a tiny Qwen3-VL on easy-vqa, through the real workflow."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from workflow_runner import Workflow

from npo_pipeline.policy.policy import load_policy
from npo_pipeline.storage.images import load_image
from npo_pipeline.storage.layout import Layout
from npo_pipeline.storage.manifest import read_manifest
from npo_pipeline.storage.parquet import prompt_digest, read_problems

OVERRIDES = (
    "name=default task.config={} policy.scratch.vocab_size=400 policy.scratch.head_dim=16 policy.vision.scratch.hidden_size=32"
    " policy.vision.scratch.layers=1 policy.cold_start.batch_size=32 sampling.max_new_tokens=24 method=[npo,exgrpo,rlep]"
    " method.exgrpo.replay.start_accuracy=0.0"
)
OPTIONS = ("experiment=easy_vqa",)


@pytest.mark.slow
def test_images_come_through_every_stage(tmp_path: Path):
    workflow = Workflow(tmp_path / "with images")
    workflow.run(overrides=OVERRIDES, options=OPTIONS)
    layout = Layout(workflow.results)
    problems = {problem.problem_id: problem for problem in read_problems(layout.problems)}
    prepared = read_manifest(layout.prepare)
    for problem in problems.values():
        (image,) = problem.images
        assert prepared["files"][image.path]["sha256"] == image.sha256
        assert load_image(image).size == (image.width, image.height) == (64, 64)
        assert problem.prompt.count("<|image_pad|>") == 1, "stored unexpanded"
    assert (prepared["min_pixels"], prepared["max_pixels"]) == (1024, 16384)
    forbidden = set(load_policy(layout.initial_policy, "float32").forbidden_ids)
    for run, sources in (("probe", {"on_policy"}), ("npo", {"on_policy", "guide"}), ("exgrpo", {"on_policy", "guide"}), ("rlep", None)):
        rows = [row for file in sorted(layout.run(run).glob("rollouts/*")) for row in pq.read_table(file).to_pylist()]
        assert sources is None or {row["source"] for row in rows} == sources
        for row in rows:
            problem = problems[row["problem_id"]]
            assert [image["sha256"] for image in row["images"]] == [image.sha256 for image in problem.images]
            assert row["prompt_sha256"] == prompt_digest(problem.prompt, problem.images)
            assert not forbidden & set(row["response_token_ids"])
            if row["source"] == "on_policy":
                assert row["guide_logprobs"] == pytest.approx(row["trainer_logprobs"], abs=1e-4)
    shard = next(layout.guide.glob("step-*/trajectories-*.parquet"))
    assert all(len(row["images"]) == 1 for row in pq.read_table(shard).to_pylist())
    assert any(json.loads(layout.evaluation(name).read_text())["overall"]["mean@2"]["value"] > 0 for name in ("initial", "probe", "npo"))
    assert workflow.planned(overrides=OVERRIDES, options=OPTIONS) == set()
    image.file.write_bytes(b"another")
    layout.evaluation("npo").unlink()
    done = workflow.call(overrides=OVERRIDES, options=OPTIONS)
    assert done.returncode != 0
    assert f"{image.file.name}: damaged" in done.stdout
