"""What a change reruns, and what it leaves alone: the real workflow, at a tiny size."""

import json
import shlex
import shutil
import subprocess
import sys
import zipfile

import pytest
import yaml
from workflow_runner import PROJECT, Workflow

from npo_pipeline.storage.parquet import MEASURED, SIGNAL, read_rows
from npo_pipeline.storage.spent import place, read_hours

pytestmark = pytest.mark.slow

REPORT = {"report"}
GUIDED = {"guided seed=0 method=npo", "evaluate seed=0 policy=npo"} | REPORT
PLANNED = {"plan seed=0 method=npo"} | GUIDED
GUIDE = {"guide_job seed=0 job=0 jobs=1", "guide seed=0"}
PROBE = {"probe seed=0", "evaluate seed=0 policy=probe"} | GUIDE | PLANNED
EVALUATE = {f"evaluate seed=0 policy={policy}" for policy in ("initial", "probe", "npo")} | REPORT
ALL = {"prepare"} | PROBE | EVALUATE


def test_an_empty_folder_needs_every_stage(empty: Workflow) -> None:
    assert empty.planned() == ALL


def test_every_declared_file_is_there(template: Workflow) -> None:
    files = template.digests()
    seed = ["probe/manifest.json", "guide/manifest.json", "guide/signal.parquet", "npo/schedule.yaml", "npo/manifest.json"]
    expected = [f"seed-0/{file}" for file in seed] + [f"seed-0/evaluation/{name}.json" for name in ("initial", "probe", "npo")]
    assert files.keys() >= {*expected, "prepare/manifest.json", "comparison/table.csv", "comparison/table.md"}
    assert {file.stem for file in (template.results / "config").iterdir()} == {
        "prepare", "probe", "guide", "plan-npo", "guided-npo", "evaluate", "report",
    }  # fmt: skip


def test_each_stage_leaves_its_log_and_its_benchmark(template: Workflow) -> None:
    for name in ("prepare", "seed-0/probe", "seed-0/guide-0-of-1", "seed-0/guide", "seed-0/guided-npo", "seed-0/evaluate-npo", "report"):
        assert (template.results / f"logs/{name}.log").is_file()
        assert (template.results / f"benchmarks/{name}.tsv").read_text().startswith("s\t")


def test_each_computing_stage_leaves_what_it_used(template: Workflow) -> None:
    stages = ["guide-0-of-1", "guide-gather", "probe", "guided-npo", *(f"evaluate-{name}" for name in ("initial", "probe", "npo"))]
    for stage in stages:
        hours = read_hours(place(template.results, 0, stage))
        assert hours is not None
        assert hours.cpu > 0.0
        assert hours.wall > 0.0
    assert read_hours(place(template.results, None, "prepare")) is not None
    assert "What it cost" in (template.results / "report.html").read_text()


def test_a_second_call_does_nothing(finished: Workflow) -> None:
    before = finished.digests()
    assert finished.run() == set()
    assert finished.digests() == before


def test_touched_configuration_changes_nothing(finished: Workflow) -> None:
    for file in (finished.results / "config").iterdir():
        file.touch()
    assert finished.planned() == set()


@pytest.mark.parametrize(
    ("overrides", "rerun"),
    [
        ("task.train_size=33", ALL),
        ("grpo.learning_rate=1e-3", PROBE),
        ("probe.steps=6 guidance.lookback=6", PROBE),
        ("guidance.samples=5", GUIDE | PLANNED),
        ("method.npo.gate=0.3", PLANNED),
        ("guided.checkpoint_every=2", GUIDED),
        ("evaluate.seed=1", EVALUATE),
        ("report.title=Other", REPORT),
    ],
)
def test_a_knob_reruns_its_stage_and_what_follows(template: Workflow, overrides: str, rerun: set[str]) -> None:
    assert template.planned(overrides=overrides) == rerun


def test_a_second_method_shares_probe_and_guide(template: Workflow) -> None:
    jobs = {"plan seed=0 method=npo_early", "guided seed=0 method=npo_early", "evaluate seed=0 policy=npo_early"}
    assert template.planned(overrides="method=[npo,npo_early]") == jobs | REPORT


def test_a_second_seed_only_adds_its_own_jobs(template: Workflow) -> None:
    of_seed_1 = {job.replace("seed=0", "seed=1") for job in PROBE | EVALUATE}
    assert template.planned(overrides="seeds=[0,1]") == of_seed_1


def test_a_finished_guide_keeps_its_number_of_jobs(template: Workflow) -> None:
    assert template.planned(options=("guide_jobs=3",)) == set()
    scattered = {f"guide_job seed=0 job={job} jobs=3" for job in range(3)} | {"guide seed=0"} | PLANNED
    assert template.planned(overrides="guidance.samples=5", options=("guide_jobs=3",)) == scattered


def test_until_guide(empty: Workflow) -> None:
    assert empty.planned("--until", "guide") == {"prepare", "probe seed=0"} | GUIDE


def test_forcerun(template: Workflow) -> None:
    assert template.planned("--forcerun", "guided") == GUIDED
    assert template.planned("--forcerun", "guide_job") == GUIDE | PLANNED


def test_a_knob_that_was_rerun_is_settled(finished: Workflow) -> None:
    probe = finished.digests("seed-0/probe")
    title = "Its $(date) {seed} `id` %s"
    overrides = "method.npo.gate=0.3 " + shlex.quote(f"report.title='{title}'") + " seeds=[0]"
    assert finished.run(overrides=overrides) == PLANNED
    assert yaml.safe_load((finished.results / "config/report.yaml").read_text())["report"]["title"] == title
    assert finished.run(overrides=overrides) == set()
    assert finished.digests("seed-0/probe") == probe


def test_a_deleted_method_comes_back_bit_identical(finished: Workflow) -> None:
    before = finished.digests()
    subprocess.run(["rm", "-r", finished.results / "seed-0/npo"], check=True)
    assert finished.run() == PLANNED
    assert finished.digests() == before


@pytest.mark.parametrize("folder", ["prepare", "seed-0/probe", "seed-0/guide", "seed-0/evaluation", "report.html"])
def test_whatever_is_deleted_is_made_again(finished: Workflow, folder: str) -> None:
    subprocess.run(["rm", "-r", finished.results / folder], check=True)
    stages = {"prepare": ALL, "seed-0/probe": PROBE, "seed-0/guide": GUIDE | PLANNED, "seed-0/evaluation": EVALUATE, "report.html": REPORT}
    assert finished.planned() == stages[folder]


def test_a_schedule_edited_by_hand_is_honoured(finished: Workflow) -> None:
    schedule = finished.results / "seed-0/npo/schedule.yaml"
    assert injected(finished) > 0
    edited = "# no guide at all\n" + yaml.safe_dump({**yaml.safe_load(schedule.read_text()), "windows": []}, sort_keys=False)
    schedule.write_text(edited)
    assert finished.run() == GUIDED
    assert schedule.read_text() == edited
    assert injected(finished) == 0
    assert finished.planned() == set()


def injected(workflow: Workflow) -> int:
    """Slots that the method filled from a guide, over its whole run."""
    metrics = (workflow.results / "seed-0/npo/metrics.jsonl").read_text().splitlines()
    return sum(json.loads(line)["guide/injected"] for line in metrics)


def test_a_stage_that_fails_says_so(finished: Workflow) -> None:
    (finished.results / "seed-0/npo/schedule.yaml").write_text("windows: [")
    failed = finished.call()
    assert failed.returncode == 1
    assert "schedule.yaml" in failed.stdout  # the stage's own words, on the terminal and in its log
    assert "schedule.yaml" in (finished.results / "logs/seed-0/guided-npo.log").read_text()
    assert "Traceback" not in failed.stdout
    assert "Error in rule guided" in failed.stdout
    assert "results/default/logs" in failed.stdout


@pytest.mark.parametrize(
    ("overrides", "options", "line"),
    [
        ("grpo.learning_rat=1", (), "grpo.learning_rat: no such key; did you mean grpo.learning_rate?"),
        ("grpo.group_size=1", (), "grpo.group_size=1: expected at least 2"),
        ("probe.steps=many", (), "probe.steps"),
        ("", ("experiment=defualt",), "experiment=defualt: no such file"),
        ("", ("guide_job=2",), "--config guide_job=...: no such option"),
        ("", ("guide_jobs=two",), "--config guide_jobs='two'"),
        ("", ("overrides=report.title='A: b'",), "--config overrides={"),
        ("", ("overrides=report.title='A b'",), '--config overrides="report.title=\'A b": a quote is missing'),
        ("", ("guide_jobs=0",), "--config guide_jobs=0: expected at least 1"),
    ],
)
def test_a_wrong_word_on_the_command_line_is_one_line(empty: Workflow, overrides: str, options: tuple[str, ...], line: str) -> None:
    failed = empty.call("-n", overrides=overrides, options=options)
    assert failed.returncode == 1
    said = [text.strip() for text in failed.stdout.splitlines() if not text.startswith("host:")]
    assert said[0].startswith("WorkflowError in file")  # Snakemake's own: where the Snakefile says so
    assert said[1].startswith(line)
    assert said[2:] == [f'File "{PROJECT}/workflow/rules/common.smk", line {said[0].split()[-1][:-1]}, in <module>']


def test_a_wrong_profile_is_refused(empty: Workflow) -> None:
    failed = empty.call("-n", "--profile", "workflow/profiles/workstaton")
    assert failed.returncode != 0
    assert "workflow/profiles/workstaton" in failed.stdout


def test_the_workstation_profile_is_read(empty: Workflow) -> None:
    assert empty.planned("--profile", "workflow/profiles/workstation") == ALL


def test_a_job_on_a_cluster_does_not_import_the_learning_libraries(template: Workflow) -> None:
    command = [
        sys.executable,
        "-X",
        "importtime",
        "-m",
        "snakemake",
        "-n",
        "--mode",
        "remote",
        "--cores",
        "1",
        "--directory",
        template.folder,
    ]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=120)
    imported = {line.split("|")[-1].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert {"hydra", "npo_pipeline.configuration.compose"} <= imported
    assert not imported & {"torch", "transformers", "vllm", "reasoning_gym", "datasets"}


def test_another_estimate_of_v_samples_no_guide_anew(finished: Workflow) -> None:
    """At 8B the guides are days of sampling, and how V is estimated is a knob to turn."""
    guides = [*(finished.results / "seed-0/guide").glob("step-*/*")]
    before = {file: file.stat().st_mtime_ns for file in guides}
    old = read_rows(finished.results / "seed-0/guide/signal.parquet", SIGNAL)
    assert finished.run(overrides="guidance.variance.beta=50") == GUIDE | PLANNED
    assert {file: file.stat().st_mtime_ns for file in guides} == before
    new = read_rows(finished.results / "seed-0/guide/signal.parquet", SIGNAL)
    assert [row["kl_token"] for row in new] == pytest.approx([row["kl_token"] for row in old], nan_ok=True)
    assert any(row["v"] > known["v"] for row, known in zip(new, old, strict=True))


def test_a_method_that_learns_from_no_guides_has_none_made(finished: Workflow) -> None:
    """At 8B they are days of sampling; the report does without."""
    guides = finished.digests("seed-0/guide")
    ran = finished.run(overrides="method=[resample] grpo.learning_rate=1e-3")
    assert not any(job.startswith("guide_job") or job.startswith("guide ") for job in ran)
    page = (finished.results / "report.html").read_text()
    assert "resample" in page
    assert 'id="signal"' not in page, "there are guides, but of another probe"
    assert finished.digests("seed-0/guide") == guides


def test_snakemakes_own_report_holds_ours(template: Workflow) -> None:
    done = template.call("--report", str(template.folder / "run.zip"))
    assert done.returncode == 0, done.stdout
    with zipfile.ZipFile(template.folder / "run.zip") as archive:
        assert any(name.endswith("report.html") and archive.getinfo(name).file_size > 100_000 for name in archive.namelist())


def test_evaluate_by_hand_takes_every_policy_that_is_there(finished: Workflow) -> None:
    before = finished.digests("seed-0/evaluation")
    shutil.rmtree(finished.results / "seed-0/evaluation")
    stage = [sys.executable, "-m", "npo_pipeline.stages.evaluate", "--config", str(finished.results / "config/evaluate.yaml")]
    assert subprocess.run(stage, cwd=PROJECT).returncode == 0
    assert finished.digests("seed-0/evaluation") == before


def test_measuring_is_apart_from_the_main_job_and_repeats_itself(finished: Workflow) -> None:
    """On the finished probe: every pair of the grid that it has, and the same bytes again."""
    small = "measure.problems=6 measure.tries=2 measure.repeats=2 measure.resamples=100 measure.current_steps=[0,2] measure.distances="
    assert finished.run("signal_study", overrides=f"{small}[0,2,4]") == {"measure seed=0", "signal_study"}
    rows = read_rows(finished.results / "seed-0/measure/measured.parquet", MEASURED)
    assert [(row["current_step"], row["distance"]) for row in rows] == [(0, 0), (0, 2), (0, 4), (2, 0), (2, 2)]
    assert all(row["n_own"] <= row["n_problems"] <= row["n_pool"] == 6 for row in rows)
    before = finished.digests("seed-0/measure")
    finished.run("signal_study", "--forcerun", "measure", overrides=f"{small}[0,2,4]")
    assert finished.digests("seed-0/measure") == before
    failed = finished.call("signal_study", overrides=f"{small}[40]")
    assert failed.returncode != 0
    assert "measure.distances=[40]" in failed.stdout


def test_several_initial_policies_each_have_a_folder_of_their_own(finished: Workflow) -> None:
    """What they start is evaluated; the first one, and all that is made of it, is as if there were no other."""
    several, files = "policy.cold_starts=2 seeds=[0,1,2]", [f"results/default/seed-{seed}/evaluation/initial.json" for seed in (0, 1, 2)]
    one = finished.digests("prepare/policy")
    made = finished.run(*files, overrides=several)
    assert made == {"prepare", "prepare_another start=1", *(f"evaluate seed={seed} policy=initial" for seed in (0, 1, 2))}
    assert finished.digests("prepare/policy") == one
    again = {name.replace("prepare-1", "prepare"): value for name, value in finished.digests("prepare-1/policy").items()}
    assert {name for name in one if again[name] != one[name]} == {"prepare/policy/model.safetensors"}
    found = [json.loads(file.read_text())["policy_sha256"] for file in map(finished.folder.joinpath, files)]
    assert found[0] == found[2] != found[1]
    assert finished.planned(overrides=several) >= {"probe seed=1", "probe seed=2"}
    assert not {"prepare", "prepare_another start=1"} & finished.planned(overrides=several)
