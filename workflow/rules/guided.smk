# Pass 2: a schedule for each method, as a file that may be edited by hand, and the run that follows it.
rule plan:
    input:
        "<results>/seed-{seed}/probe/manifest.json",
        "<results>/seed-{seed}/guide/manifest.json",
        "<results>/seed-{seed}/guide/signal.parquet",
        config="<results>/config/plan-{method}.yaml",
    output:
        "<results>/seed-{seed}/{method}/schedule.yaml",
    log:
        "<logs>/seed-{seed}/plan-{method}.log",
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    shell:
        "{PYTHON:q} -m npo_pipeline.stages.plan --config {input.config:q} --seed {wildcards.seed} 2>&1 | tee -i {log:q}"


rule guided:
    input:
        "<results>/prepare/manifest.json",
        "<results>/seed-{seed}/guide/manifest.json",
        "<results>/seed-{seed}/{method}/schedule.yaml",
        config="<results>/config/guided-{method}.yaml",
    output:
        "<results>/seed-{seed}/{method}/manifest.json",
    log:
        "<logs>/seed-{seed}/guided-{method}.log",
    benchmark:
        "<benchmarks>/seed-{seed}/guided-{method}.tsv"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=720,
        gpu=1,
    shell:
        "{PYTHON:q} -m npo_pipeline.stages.guided --config {input.config:q} --seed {wildcards.seed} 2>&1 | tee -i {log:q}"
