# Held-out results of every policy, and the report that compares them.
def policy_manifest(wildcards):
    """Of the stage that made the policy."""
    return prepared(wildcards) if wildcards.policy == "initial" else f"{RESULTS}/seed-{wildcards.seed}/{wildcards.policy}/manifest.json"


def benchmark_manifest(wildcards):
    return [f"{RESULTS}/held-out/manifest.json"] if ROOT.evaluate.benchmarks else []


rule evaluate:
    input:
        prepared,
        policy_manifest,
        benchmark_manifest,
        config=configured("evaluate"),
    output:
        "<results>/seed-{seed}/evaluation/{policy}.json",
    log:
        "<logs>/seed-{seed}/evaluate-{policy}.log",
    benchmark:
        "<benchmarks>/seed-{seed}/evaluate-{policy}.tsv"
    threads: 1
    resources:
        **needs("evaluate"),
    shell:
        "stage {log:q} evaluate --config {input.config:q} --device {DEVICE} --seed {wildcards.seed}" " --policy {wildcards.policy:q}"


# Of each run also the averaged policy, the mean of its last checkpoints, which this job makes first.
rule evaluate_averaged:
    input:
        prepared,
        "<results>/seed-{seed}/{run}/manifest.json",
        benchmark_manifest,
        average=configured("average"),
        config=configured("evaluate"),
    output:
        f"<results>/seed-{{seed}}/evaluation/{{run}}{AVERAGED}.json",
        f"<results>/seed-{{seed}}/{{run}}/{POLICY_AVERAGED}/manifest.json",
    log:
        f"<logs>/seed-{{seed}}/evaluate-{{run}}{AVERAGED}.log",
    benchmark:
        f"<benchmarks>/seed-{{seed}}/evaluate-{{run}}{AVERAGED}.tsv"
    threads: 1
    resources:
        **needs("evaluate"),
    shell:
        "stage {log:q} evaluate --config {input.config:q} --device {DEVICE} --seed {wildcards.seed}"
        " --policy {wildcards.run:q}{AVERAGED} --average {input.average:q}"


# Of each run of a comparison also its checkpoints along its way, where that is asked for (comparison.every).
rule evaluate_curve:
    input:
        prepared,
        "<results>/seed-{seed}/{run}/manifest.json",
        curve=configured("curve"),
        config=configured("evaluate"),
    output:
        "<results>/seed-{seed}/{run}/curve.json",
    log:
        "<logs>/seed-{seed}/evaluate-{run}-curve.log",
    benchmark:
        "<benchmarks>/seed-{seed}/evaluate-{run}-curve.tsv"
    threads: 1
    resources:
        **needs("evaluate"),
    shell:
        "stage {log:q} evaluate --config {input.config:q} --device {DEVICE} --seed {wildcards.seed}"
        " --policy {wildcards.run:q} --curve {input.curve:q}"


rule report:
    input:
        evaluations,
        config=configured("report"),
    output:
        report("<results>/report.html", caption="../report/report.rst", category="Results"),
    log:
        "<logs>/report.log",
    benchmark:
        "<benchmarks>/report.tsv"
    threads: 1
    resources:
        **LIGHT_NEEDS,
    shell:
        "stage {log:q} report --config {input.config:q}"
