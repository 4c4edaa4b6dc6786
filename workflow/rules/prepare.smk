# Problems and the initial policy.
def local_sources(wildcards):
    """The dataset's files and the policy's, where they lie on this machine: a change in them makes everything anew."""
    sources = [resolve_path(source) for source in (ROOT.task.train, ROOT.task.eval) if source]
    if ROOT.policy.source == "pretrained":
        sources.append(Path(ROOT.policy.path).expanduser())
    return sorted({str(file) for source in sources if source for file in files_in(source)})


def files_in(source):
    return [source] if source.is_file() else [file for file in source.rglob("*") if file.is_file()]


rule prepare:
    input:
        local_sources,
        config="<results>/config/prepare.yaml",
    output:
        "<results>/prepare/manifest.json",
    log:
        "<logs>/prepare.log",
    benchmark:
        "<benchmarks>/prepare.tsv"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=120,
    shell:
        "{PYTHON:q} -m npo_pipeline.stages.prepare --config {input.config:q} 2>&1 | {TEE} {log:q}"


# An external teacher, made when a method asks for one.
rule teacher:
    input:
        "<results>/prepare/manifest.json",
        config="<results>/config/teacher.yaml",
    output:
        "<results>/teacher/manifest.json",
    log:
        "<logs>/teacher.log",
    benchmark:
        "<benchmarks>/teacher.tsv"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=120,
    shell:
        "{PYTHON:q} -m npo_pipeline.stages.teacher --config {input.config:q} 2>&1 | {TEE} {log:q}"


# Held-out benchmarks beside the task, where there are any: only evaluations depend on them.
def benchmark_sources(wildcards):
    sources = [resolve_path(benchmark.data) for benchmark in ROOT.evaluate.benchmarks.values()]  # None: of the hub
    return sorted({str(file) for source in sources if source for file in files_in(source)})


rule benchmarks:
    input:
        "<results>/prepare/manifest.json",
        benchmark_sources,
        config="<results>/config/benchmarks.yaml",
    output:
        "<results>/held-out/manifest.json",
    log:
        "<logs>/benchmarks.log",
    benchmark:
        "<benchmarks>/benchmarks.tsv"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=120,
    shell:
        "{PYTHON:q} -m npo_pipeline.stages.benchmarks --config {input.config:q} 2>&1 | {TEE} {log:q}"
