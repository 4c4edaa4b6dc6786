# Problems and the initial policy.
def local_sources(wildcards):
    """The dataset's files and images and the policy's, where they lie on this machine: a change in them makes everything anew."""
    task, policy = ROOT.task, ROOT.policy
    found = [*dataset_files(task.train, task.image_column), *dataset_files(task.eval, task.image_column)]
    if policy.source == "pretrained":
        found += files_in(Path(policy.path).expanduser())
    return as_inputs(found)


rule prepare:
    input:
        local_sources,
        config=configured("prepare"),
    output:
        "<results>/prepare/manifest.json",
    log:
        "<logs>/prepare.log",
    benchmark:
        "<benchmarks>/prepare.tsv"
    threads: 1
    resources:
        **needs("prepare"),
    params:
        number=0,
        device=device_of("prepare"),
    shell:
        "stage {log:q} prepare --config {input.config:q} --device {params.device} --seed {params.number}"


# With several cold starts the further ones, each in a folder of its own with the problems beside it.
use rule prepare as prepare_another with:
    output:
        "<results>/prepare-{start}/manifest.json",
    log:
        "<logs>/prepare-{start}.log",
    benchmark:
        "<benchmarks>/prepare-{start}.tsv"
    params:
        number=lambda wildcards: wildcards.start,
        device=device_of("prepare"),


# An external teacher, made when a method asks for one.
rule teacher:
    input:
        "<results>/prepare/manifest.json",
        config=configured("teacher"),
    output:
        "<results>/teacher/manifest.json",
    log:
        "<logs>/teacher.log",
    benchmark:
        "<benchmarks>/teacher.tsv"
    threads: 1
    resources:
        **needs("teacher"),
    params:
        device=device_of("teacher"),
    shell:
        "stage {log:q} teacher --config {input.config:q} --device {params.device}"


# Held-out benchmarks beside the task, where there are any: only evaluations depend on them.
def benchmark_sources(wildcards):
    benchmarks = ROOT.evaluate.benchmarks.values()
    return as_inputs(file for benchmark in benchmarks for file in dataset_files(benchmark.data, benchmark.image_column))


rule benchmarks:
    input:
        "<results>/prepare/manifest.json",
        benchmark_sources,
        config=configured("benchmarks"),
    output:
        "<results>/held-out/manifest.json",
    log:
        "<logs>/benchmarks.log",
    benchmark:
        "<benchmarks>/benchmarks.tsv"
    threads: 1
    resources:
        **LIGHT_NEEDS,
    shell:
        "stage {log:q} benchmarks --config {input.config:q}"
