# Pass 1: plain GRPO, with dense checkpoints and every roll-out kept.
rule probe:
    input:
        prepared,
        config=configured("probe"),
    output:
        "<results>/seed-{seed}/probe/manifest.json",
    log:
        "<logs>/seed-{seed}/probe.log",
    benchmark:
        "<benchmarks>/seed-{seed}/probe.tsv"
    threads: ROOT.trainer.nproc
    resources:
        **needs("probe"),
        **RANKS,
        slurm_extra=WARNING,
    shell:
        "stage {log:q} probe --config {input.config:q} --device {DEVICE} --seed {wildcards.seed}"
        " --nproc {resources.nproc} --nodes {resources.nodes}{RECOMPUTE}"
