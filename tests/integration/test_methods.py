"""Every method of the comparison through the real workflow, at a tiny size; and the target that compares them."""

import csv
import json
import subprocess
import sys

import pytest
from tiny import tiny_policy
from transformers import AutoTokenizer
from workflow_runner import Workflow, kill_when

from npo_pipeline.policy.average import acting
from npo_pipeline.policy.checkpoints import Walk
from npo_pipeline.policy.identity import identity
from npo_pipeline.policy.policy import save_policy
from npo_pipeline.records import Group, Trajectory
from npo_pipeline.storage.guides import read_groups, read_shards
from npo_pipeline.storage.layout import Layout
from npo_pipeline.storage.manifest import read_manifest
from npo_pipeline.storage.parquet import GUIDE_SHARD, SIGNAL, read_problems, read_rows

pytestmark = pytest.mark.slow

METHODS = ["npo", "npo_rolling", "autonpo_online", "resample", "npo_ema", "npo_within", "luffy", "exgrpo", "rlep", "grpo_long"]
# A trigger that always warns, a replay that starts at once, an average that leads by its first win: in six steps each has something to do.
EAGER = (
    f" method=[{','.join(METHODS)}] comparison.seeds=[0] comparison.methods=[{','.join(METHODS)}] comparison.resamples=100 probe.steps=6"
    " guidance.lookback=6 method.autonpo_online.autonpo.patience=1 method.autonpo_online.autonpo.min_gain=9.0"
    " method.autonpo_online.autonpo.entropy_drop=-9.0 method.autonpo_online.autonpo.min_coverage=0.0"
    " method.autonpo_online.online.min_prompts=1"
    " method.npo_ema.gate=0.6 method.npo_ema.ema.compared=1.0 method.npo_ema.ema.certainty=0.5"
    " method.npo_within.gate=0.6 method.npo_within.within.certainty=0.5"
    " method.exgrpo.replay.start_accuracy=0.0 method.grpo_long.length=1.5 policy.teacher.hidden_size=32"
    " policy.teacher.intermediate_size=64 policy.teacher.cold_start.steps=200 policy.teacher.cold_start.examples=1000"
)


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    workflow = Workflow(tmp_path_factory.mktemp("methods"))
    workflow.run("comparison", overrides=EAGER)
    return workflow


def groups_of(workflow: Workflow, method: str) -> list[list[Group]]:
    layout = Layout(workflow.results)
    problems = {problem.problem_id: problem for problem in read_problems(layout.problems)}
    steps = len((layout.method(method) / "metrics.jsonl").read_text().splitlines())
    return [read_groups(layout.method(method), step, problems) for step in range(steps)]


def guides_of(workflow: Workflow, method: str) -> list[tuple[int, int | None, bool]]:
    """(step, guide step, verified) of every slot that somebody else's trajectory took."""
    steps = enumerate(groups_of(workflow, method))
    slots = [(step, slot) for step, groups in steps for group in groups for slot in group.slots if slot.source == "guide"]
    return [(step, slot.guide_step, slot.trajectory.verified) for step, slot in slots]


@pytest.mark.parametrize("method", METHODS[:-1])
def test_it_injects_verified_trajectories_from_where_it_says(compared: Workflow, method: str) -> None:
    found = guides_of(compared, method)
    assert found, f"{method} injected nothing"
    if method == "npo_within":  # it finishes a group, right or wrong
        assert {verified for _, _, verified in found} == {True, False}
    else:
        assert all(verified for _, _, verified in found)
    for step, guide_step, _ in found:
        if method in ("npo", "npo_rolling", "autonpo_online"):
            assert guide_step is not None
            assert guide_step > step
        expected = {"resample": step, "npo_ema": step, "npo_within": step, "rlep": 6, "luffy": None}
        assert method not in expected or guide_step == expected[method]
        assert method != "exgrpo" or (guide_step is not None and guide_step < step)


def test_groups_keep_their_size_but_for_appended_rows(compared: Workflow) -> None:
    sizes = {method: {len(group.slots) for groups in groups_of(compared, method) for group in groups} for method in METHODS}
    assert sizes.pop("rlep") == {4, 6}
    assert set(map(tuple, sizes.values())) == {(4,)}


def test_grpo_long_goes_on_from_what_grpo_did(compared: Workflow) -> None:
    seed = compared.results / "seed-0"
    probe, longer = ((seed / name / "metrics.jsonl").read_text().splitlines() for name in ("probe", "grpo_long"))
    assert len(longer) == 9
    assert longer[:6] == probe


def test_the_table_has_a_row_for_each(compared: Workflow) -> None:
    rows = list(csv.DictReader((compared.results / "comparison/table.csv").read_text().splitlines()))
    assert {"base", "GRPO", *METHODS} == {row["method"] for row in rows}


def test_one_more_seed_only_adds_its_own_jobs(compared: Workflow) -> None:
    overrides = EAGER.replace("comparison.seeds=[0]", "comparison.seeds=[0,1]")
    planned = compared.planned("comparison", overrides=overrides)
    assert {job for job in planned if "seed=0" in job} == set()
    assert "comparison" in planned


@pytest.mark.parametrize("method", ["autonpo_online", "exgrpo", "npo_ema", "npo_within"])
def test_a_killed_run_comes_to_the_same_decisions(compared: Workflow, method: str) -> None:
    folder = compared.results / "seed-0" / method
    before = compared.digests(f"seed-0/{method}")
    command = [sys.executable, "-m", "npo_pipeline.stages.guided", "--save-every", "1"]
    command += ["--config", str(compared.results / f"config/guided-{method}.yaml")]
    kill_when(command, (folder / "state/step-000003").exists)
    assert not (folder / "manifest.json").exists(), "killed too late: the run had finished"
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300)
    assert done.returncode == 0, done.stdout
    assert f"{method}: resuming from step " in done.stdout
    assert compared.digests(f"seed-0/{method}") == before


def test_a_guided_run_is_the_probe_of_a_second_round(finished: Workflow) -> None:
    jobs = finished.run(overrides="rounds=2")
    assert {"guide seed=0 round=round-2/", "plan seed=0 round=round-2/ method=npo", "guided seed=0 round=round-2/ method=npo"} <= jobs
    assert "probe seed=0" not in jobs
    layout = Layout(finished.results)
    steps = [slot[1] for slot in guides_of(finished, "round-2/npo")]
    assert steps
    assert (layout.seed_folder / "round-2/guide/signal.parquet").is_file()
    assert finished.planned(overrides="rounds=2") == set()


def test_the_mean_of_checkpoints_guides_in_place_of_the_last_of_them(finished: Workflow) -> None:
    """Its name is in the shards; V is that of the mean against the checkpoints that it guides, and what it sampled is another policy's."""
    layout = Layout(finished.results)
    before = {row["guide_step"]: row for row in read_rows(layout.signal, SIGNAL)}
    jobs = finished.run(overrides="guidance.average=2")
    assert {"guide_job seed=0 job=0 jobs=1", "guide seed=0", "guided seed=0 method=npo"} <= jobs
    assert "probe seed=0" not in jobs
    walk = Walk(layout.probe, 0)
    for guide_step, steps in ((2, [0, 2]), (4, [2, 4])):
        own = [(walk.to(step), [p.detach().clone() for p in walk.policy.model.parameters()])[1] for step in steps]
        with acting(walk.policy.model, [(a + b) / 2 for a, b in zip(*own, strict=True)]):
            expected = identity(walk.policy)
        folder = layout.guide_step(guide_step)
        names = {row["policy_sha256"] for file in folder.glob("trajectories-*") for row in read_rows(file, GUIDE_SHARD)}
        assert names == {expected}
        assert read_manifest(folder)["average_of"] == steps
    after = {row["guide_step"]: row for row in read_rows(layout.signal, SIGNAL)}
    assert after.keys() == before.keys()
    assert any(after[step]["kl_token"] != row["kl_token"] for step, row in before.items())
    assert finished.planned(overrides="guidance.average=2") == set()


def demonstrated(workflow: Workflow, source: str) -> list[Trajectory]:
    """LUFFY's demonstrations, made from this source by the real workflow."""
    target = "results/default/seed-0/luffy/demonstrations/manifest.json"
    jobs = workflow.run(target, overrides=f"method=[luffy] method.luffy.demonstrations.policy={source}")
    assert "demonstrate seed=0 method=luffy" in jobs
    return [trajectory for trajectory, _ in read_shards(Layout(workflow.results).demonstrations("luffy"))]


def test_demonstrations_from_a_file_are_judged_and_matched_by_question_or_id(finished: Workflow) -> None:
    problems = {problem.problem_id: problem for problem in read_problems(Layout(finished.results).problems) if problem.split == "train"}
    first, second, third, *_ = problems.values()
    rows = [
        {"question": first.question, "response": first.answer},
        {"problem_id": second.problem_id, "response": second.answer},
        {"question": third.question, "response": "no idea"},
        {"question": "of another data set", "response": "1"},
    ]
    file = finished.folder / "teacher.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = {t.problem_id: t for t in demonstrated(finished, str(file).replace(" ", r"\ "))}
    assert {name: t.verified for name, t in found.items()} == {first.problem_id: True, second.problem_id: True, third.problem_id: False}
    assert all(t.prompt_token_ids == problems[name].prompt_token_ids for name, t in found.items())


def test_a_teacher_with_a_tokenizer_of_its_own_speaks_in_the_policys_tokens(finished: Workflow) -> None:
    folder = finished.folder / "teacher"
    save_policy(tiny_policy(), folder)
    student = AutoTokenizer.from_pretrained(Layout(finished.results).initial_policy)
    found = demonstrated(finished, str(folder).replace(" ", r"\ "))
    assert found
    for trajectory in found:
        text = student.decode(trajectory.response_token_ids, skip_special_tokens=True)
        assert text == trajectory.response_text
        assert set(trajectory.behaviour_logprobs) == {0.0}
