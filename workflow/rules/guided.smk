# Pass 2: for a scheduled method its schedule, as a file that may be edited by hand; for LUFFY and RLEP their demonstrations; and the run.
def guide_inputs(wildcards):
    """What a run of this method learns from."""
    method, seed = wildcards.method, f"{RESULTS}/seed-{wildcards.seed}/{wildcards.round}".rstrip("/")
    begin = [probe_manifest(wildcards)] if ROOT.guided.start else []
    made = {"demonstrations": f"{seed}/{method}/demonstrations/manifest.json", "guides": f"{seed}/guide/manifest.json"}
    schedule = [f"{seed}/{method}/schedule.yaml"] if is_scheduled(method) else []
    return [*begin, *(made[need] for need in made if need in KNOWN[method].needs), *schedule]


def demonstrator(wildcards):
    """The manifest of the policy whose trajectories are wanted, or the file that holds them."""
    policy = STAGES[f"demonstrate-{wildcards.method}"]["policy"]
    if policy in ("probe", "teacher"):
        return f"{RESULTS}/seed-{wildcards.seed}/probe/manifest.json" if policy == "probe" else f"{RESULTS}/teacher/manifest.json"
    found = resolve_path(policy)
    return as_inputs(files_in(found)) if found else []


rule plan:
    input:
        probe_manifest,
        "<results>/seed-{seed}/{round}guide/manifest.json",
        "<results>/seed-{seed}/{round}guide/signal.parquet",
        config=configured("{round}plan-{method}"),
    output:
        "<results>/seed-{seed}/{round}{method}/schedule.yaml",
    log:
        "<logs>/seed-{seed}/{round}plan-{method}.log",
    threads: 1
    resources:
        **LIGHT_NEEDS,
    shell:
        "stage {log:q} plan --config {input.config:q} --seed {wildcards.seed}"


rule demonstrate:
    input:
        prepared,
        demonstrator,
        config=configured("demonstrate-{method}"),
    output:
        "<results>/seed-{seed}/{method}/demonstrations/manifest.json",
    log:
        "<logs>/seed-{seed}/demonstrate-{method}.log",
    benchmark:
        "<benchmarks>/seed-{seed}/demonstrate-{method}.tsv"
    threads: 1
    resources:
        **needs("demonstrate"),
    shell:
        "stage {log:q} demonstrate --config {input.config:q} --device {DEVICE} --seed {wildcards.seed}"


rule guided:
    input:
        prepared,
        guide_inputs,
        config=configured("{round}guided-{method}"),
    output:
        "<results>/seed-{seed}/{round}{method}/manifest.json",
    log:
        "<logs>/seed-{seed}/{round}guided-{method}.log",
    benchmark:
        "<benchmarks>/seed-{seed}/{round}guided-{method}.tsv"
    threads: ROOT.trainer.nproc
    resources:
        **needs(None),
        **RANKS,
        slurm_extra=WARNING,
    shell:
        "stage {log:q} guided --config {input.config:q} --device {DEVICE} --seed {wildcards.seed}"
        " --nproc {resources.nproc} --nodes {resources.nodes}{RECOMPUTE}"
