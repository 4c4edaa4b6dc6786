"""The cause of a failed job, found in what Snakemake 9.27 really wrote."""

from pathlib import Path

from npo_pipeline.cli.failures import failures

LOG = "results/default/logs/seed-0"
# Of a local run, of one under SLURM, and of a job that was submitted again and then finished.
WRITTEN = f"""\
RuleException:
CalledProcessError in file "workflow/rules/probe.smk", line 18:
[Tue Nov 24 18:47:23 2026]
Error in rule probe:
    message: None
    jobid: 7
    input: results/default/prepare/manifest.json
    output: results/default/seed-0/probe/manifest.json
    log: {LOG}/probe.log (check log file(s) for error details)
    shell:
        python -m npo_pipeline.stages.probe
        (command exited with non-zero exit code)
[Tue Nov 24 18:36:20 2026]
Error in rule guided:
    message: SLURM-job '14' failed, SLURM status is: 'TIMEOUT'. Detailed failure reason unavailable.
    jobid: 8
    output: results/default/seed-0/npo/manifest.json
    log: {LOG}/guided-npo.log, .snakemake/slurm_logs/rule_guided/14.log (check log file(s) for error details)
    external_jobid: 14
Error in rule plan:
    message: None
    jobid: 9
    log: {LOG}/plan-npo.log (check log file(s) for error details)
Trying to restart job 9.
Finished jobid: 9 (Rule: plan)
"""


def test_the_cause_comes_before_the_log(tmp_path: Path) -> None:
    (tmp_path / LOG).mkdir(parents=True)
    (tmp_path / LOG / "probe.log").write_text("Traceback:\n  File x\nValueError: no such thing\n\n")
    (tmp_path / LOG / "guided-npo.log").write_text("npo: resuming from step 2\nnpo: 3/400, 10 s, ETA 46 s reward 0.000\n")
    probe, guided = failures(WRITTEN, tmp_path)
    assert str(probe).splitlines()[0] == f"{LOG}/probe.log: ValueError: no such thing"
    assert str(guided).splitlines()[0] == f"{LOG}/guided-npo.log: npo: resuming from step 2 [SLURM: TIMEOUT]"
    assert str(guided).splitlines()[1] == "    | npo: 3/400, 10 s, ETA 46 s reward 0.000"


def test_a_job_without_a_log_has_snakemakes_words(tmp_path: Path) -> None:
    _, guided = failures(WRITTEN, tmp_path)
    assert "SLURM-job '14' failed" in guided.cause
