# Near-Future Policy Optimization in two passes: prepare -> probe -> guide -> plan -> guided -> evaluate -> report.
#
#   snakemake --cores 2
#   snakemake --cores 2 --config experiment=chain_sum overrides="probe.steps=60 method=[npo_early]"
#
# conf/ says what is computed; workflow/profiles say where: snakemake --profile workflow/profiles/slurm
from snakemake.utils import min_version

min_version("9.27")


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/current.smk"
include: "workflow/rules/retries.smk"


rule all:
    input:
        artifacts,
    localrule: True


include: "workflow/rules/config.smk"
include: "workflow/rules/prepare.smk"
include: "workflow/rules/probe.smk"
include: "workflow/rules/guide.smk"
include: "workflow/rules/guided.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/comparison.smk"
include: "workflow/rules/measure.smk"


onsuccess:
    record_outputs()
    print(
        f"Report: {RESULTS}/report.html" if Path(f"{RESULTS}/report.html").exists() else f"Finished, as far as was asked for: {RESULTS}"
    )


onerror:
    record_outputs()
    for found in failures("".join(Path(file).read_text() for file in log), Path.cwd()):
        print(f"\n{found}")
    print(f"\nA stage failed: the cause is above, its log in {RESULTS}/logs. The same command goes on from what is finished.")
