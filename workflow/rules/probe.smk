# Pass 1: plain GRPO, with dense checkpoints and every roll-out kept; or in its place a run that was made elsewhere.
from npo_pipeline.configuration.adoption import adopted_files, completion_files, log_file


def adopted_sources(wildcards):
    """The files of an adopted run, where they lie on this machine: a change in them makes everything anew."""
    probe = ROOT.probe
    log = log_file(probe.log, probe.adopt)
    completions = completion_files(probe.completions) if probe.completions else []
    return as_inputs([*adopted_files(probe.adopt), *([log] if log and log.exists() else []), *completions])


if ROOT.probe.adopt:

    rule adopt:
        input:
            prepared,
            adopted_sources,
            config=configured("adopt"),
        output:
            "<results>/seed-{seed}/probe/manifest.json",
        log:
            "<logs>/seed-{seed}/adopt.log",
        benchmark:
            "<benchmarks>/seed-{seed}/adopt.tsv"
        threads: 1
        resources:
            **needs("adopt"),
        shell:
            "stage {log:q} adopt --config {input.config:q} --device {DEVICE} --seed {wildcards.seed}"

else:

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
