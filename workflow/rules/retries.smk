# Only what another try can mend is tried again (`retries: 3` of the SLURM profile): a stage that refused its input would do so again,
# perhaps after hours in a queue. Snakemake knows how often, not whether: it asks each failed job for its restart_times.
from npo_pipeline.errors import CANNOT_HEAL
from snakemake.jobs import Job


def restart_times(job):
    codes = [Path(f"{log}{EXIT}") for log in job.log]
    hopeless = any(code.is_file() and code.read_text().strip() in map(str, CANNOT_HEAL) for code in codes)
    return 0 if hopeless else job.rule.restart_times


Job.restart_times = property(restart_times)
