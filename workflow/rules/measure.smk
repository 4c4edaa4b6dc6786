# Q, V and S measured on the probe's checkpoints, beside the estimates of V: snakemake --cores 2 signal_study
rule measure:
    input:
        prepared,
        "<results>/seed-{seed}/probe/manifest.json",
        config=configured("measure"),
    output:
        "<results>/seed-{seed}/measure/manifest.json",
        "<results>/seed-{seed}/measure/measured.parquet",
        report("<results>/seed-{seed}/measure/measured.svg", caption="../report/measured.rst", category="Q, V and S"),
        "<results>/seed-{seed}/measure/findings.json",
        "<results>/seed-{seed}/measure/findings.md",
    log:
        "<logs>/seed-{seed}/measure.log",
    benchmark:
        "<benchmarks>/seed-{seed}/measure.tsv"
    threads: 1
    resources:
        **needs("measure"),
    shell:
        "stage {log:q} measure --config {input.config:q} --device {DEVICE} --seed {wildcards.seed}"


rule signal_study:
    input:
        expand(f"{RESULTS}/seed-{{seed}}/measure/manifest.json", seed=ROOT.seeds),
    localrule: True
