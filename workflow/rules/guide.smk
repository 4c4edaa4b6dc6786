# Trajectories of the probe's checkpoints for the prompts that it failed before them: scattered over jobs, then gathered.
def guide_job_files(wildcards):
    """One file per job, for as many jobs as were asked for. A finished guide keeps the jobs that made it: guide_jobs=N redoes nothing."""
    changed, folder = settle(), Path(f"{RESULTS}/seed-{wildcards.seed}/{wildcards.round}guide")
    asked = job_files(folder, option("guide_jobs"))
    if all(map(Path.exists, asked)) or (
        workflow.is_main_process and not is_finished(folder, changed & {"prepare", "probe", "adopt", f"{wildcards.round}guide"})
    ):
        return [str(file) for file in asked]
    return [str(file) for file in newest_jobs(folder) or asked]


def job_files(folder, jobs):
    return [folder / f"jobs/{job}-of-{jobs}.json" for job in range(jobs)]


def is_finished(folder, changed):
    """There is a guide, and no configuration that it depends on has changed since."""
    return (folder / "manifest.json").exists() and not changed


def newest_jobs(folder):
    """The complete set of job files that was written last; empty where there is none."""
    counts = {int(file.stem.split("-of-")[1]) for file in folder.glob("jobs/*-of-*.json")}
    complete = [files for files in (job_files(folder, jobs) for jobs in counts) if all(map(Path.exists, files))]
    return max(complete, key=lambda files: max(file.stat().st_mtime for file in files), default=[])


rule guide_job:
    input:
        probe_manifest,
        config=configured("{round}guide"),
    output:
        "<results>/seed-{seed}/{round}guide/jobs/{job}-of-{jobs}.json",
    log:
        "<logs>/seed-{seed}/{round}guide-{job}-of-{jobs}.log",
    benchmark:
        "<benchmarks>/seed-{seed}/{round}guide-{job}-of-{jobs}.tsv"
    threads: 1
    resources:
        **needs("guide_job"),
    shell:
        "stage {log:q} guide --config {input.config:q} --device {DEVICE} --seed {wildcards.seed}"
        " --job {wildcards.job} --jobs {wildcards.jobs}"


rule guide:
    input:
        guide_job_files,
        config=configured("{round}guide"),
    output:
        "<results>/seed-{seed}/{round}guide/signal.parquet",
        "<results>/seed-{seed}/{round}guide/manifest.json",
    log:
        "<logs>/seed-{seed}/{round}guide.log",
    benchmark:
        "<benchmarks>/seed-{seed}/{round}guide.tsv"
    threads: 1
    resources:
        **LIGHT_NEEDS,
    shell:
        "stage {log:q} guide --config {input.config:q} --seed {wildcards.seed} --gather"
