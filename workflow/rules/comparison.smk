# Every method over several seeds, in one table: snakemake --cores 2 comparison. One more seed or method only adds jobs.
def compared_evaluations(wildcards):
    if COMPARISON_ERROR:
        raise WorkflowError(str(COMPARISON_ERROR)) from None
    say(COMPARED_FITTED)
    runs = ["probe", *ROOT.comparison.methods] if "curve" in STAGES else []
    curves = expand(f"{RESULTS}/seed-{{seed}}/{{run}}/curve.json", seed=ROOT.comparison.seeds, run=runs)
    return [*evaluations_of(ROOT.comparison.seeds, ROOT.comparison.methods), *curves]


rule comparison:
    input:
        compared_evaluations,
        config=configured("comparison"),
    output:
        f"{RESULTS}/comparison/manifest.json",
        report(f"{RESULTS}/comparison/table.csv", caption="../report/comparison.rst", category="Comparison"),
        f"{RESULTS}/comparison/table.md",
    log:
        f"{RESULTS}/logs/comparison.log",
    threads: 1
    resources:
        **LIGHT_NEEDS,
    shell:
        "stage {log:q} comparison --config {input.config:q}"
