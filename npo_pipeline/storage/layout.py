"""Where each artifact lies: the only place that spells a path under `results/<experiment>`."""

from dataclasses import dataclass
from pathlib import Path

STATE = "state"  # of a run that is under way: what a resume starts from
STATES = "states"  # of a run that keeps some for good: what a guided run may begin with
SEGMENTS = "segments"  # of a run that went back: each decision to, and the steps that were taken again
POLICY_AVERAGED = "policy-averaged"  # of a finished run: the mean of its last checkpoints
AVERAGED = "-averaged"  # behind the name of a run: that policy of it


def step_name(step: int) -> str:
    """`step-000040`: sorts as text in the order of the steps."""
    return f"step-{step:06d}"


@dataclass(frozen=True)
class Layout:
    """The folder of one experiment, `results/<experiment>`, of one seed in it, and of one round of that seed.

    A guided run may be the probe of a next round: then `round` is "round-2" and `probe_run` names that run ("npo", "round-2/npo").
    """

    root: Path
    seed: int = 0
    round: str = ""
    probe_run: str = "probe"
    cold_starts: int | None = None  # as in settings.PolicyConfig

    @property
    def cold_start(self) -> int:
        """The number of the initial policy that this seed starts from."""
        return self.seed % (self.cold_starts or 1)

    @property
    def prepare(self) -> Path:
        """Problems and initial policy: `prepare`, and of the further initial policies `prepare-1` and so on."""
        return self.root / prepare_name(self.cold_start)

    @property
    def initial_policy(self) -> Path:
        return self.prepare / "policy"

    @property
    def teacher(self) -> Path:
        return self.root / "teacher"

    @property
    def teacher_policy(self) -> Path:
        return self.teacher / "policy"

    @property
    def problems(self) -> Path:
        return self.prepare / "problems.parquet"

    @property
    def benchmarks(self) -> Path:
        """Held-out benchmarks beside the task; `benchmarks/` holds what Snakemake measures of jobs."""
        return self.root / "held-out"

    @property
    def benchmark_problems(self) -> Path:
        return self.benchmarks / "problems.parquet"

    @property
    def seed_folder(self) -> Path:
        return self.root / f"seed-{self.seed}"

    @property
    def probe(self) -> Path:
        return self.seed_folder / self.probe_run

    @property
    def guide(self) -> Path:
        return self.seed_folder / self.round / "guide"

    @property
    def signal(self) -> Path:
        return self.guide / "signal.parquet"

    @property
    def measure(self) -> Path:
        """Q, V and S measured on the probe's checkpoints."""
        return self.seed_folder / "measure"

    @property
    def comparison(self) -> Path:
        return self.root / "comparison"

    @property
    def report(self) -> Path:
        return self.root / "report.html"

    def guide_step(self, step: int) -> Path:
        return self.guide / step_name(step)

    def guide_parts(self, step: int) -> Path:
        """What was sampled so far for a guide checkpoint that is not finished."""
        return self.guide / "parts" / step_name(step)

    def method(self, name: str) -> Path:
        return self.seed_folder / self.round / name

    def schedule(self, method: str) -> Path:
        return self.method(method) / "schedule.yaml"

    def demonstrations(self, method: str) -> Path:
        """Trajectories of another policy that the method learns from: shards like a guide checkpoint's."""
        return self.method(method) / "demonstrations"

    def run(self, policy: str) -> Path:
        """The folder of the training run that made `policy`: `probe`, or a method's name."""
        return self.probe if policy == "probe" else self.method(policy)

    def policy(self, method: str) -> Path:
        """The final policy of a guided run; the probe's is its last checkpoint."""
        return self.method(method) / "policy"

    def policy_averaged(self, run: str) -> Path:
        return self.run(run) / POLICY_AVERAGED

    def curve(self, run: str) -> Path:
        """Held-out scores of a run along its way."""
        return self.run(run) / "curve.json"

    def evaluation(self, policy: str) -> Path:
        return self.seed_folder / "evaluation" / f"{policy}.json"

    def evaluation_samples(self, policy: str) -> Path:
        return self.seed_folder / "evaluation" / f"{policy}.parquet"

    def benchmark_samples(self, policy: str) -> Path:
        return self.seed_folder / "evaluation" / f"{policy}.benchmarks.parquet"


def prepare_name(cold_start: int) -> str:
    return f"prepare-{cold_start}" if cold_start else "prepare"


def averaged(run: str) -> str:
    """The name of a run's averaged policy."""
    return f"{run}{AVERAGED}"


def checkpoint(run: Path, step: int) -> Path:
    """The policy that acts at `step`: the result of `step` updates."""
    return run / "checkpoints" / step_name(step)


def kept_state(run: Path, step: int) -> Path:
    """Of the optimizer before `step`, where the run kept one."""
    return run / STATES / step_name(step)


def rollouts(run: Path, step: int) -> Path:
    return run / "rollouts" / f"{step_name(step)}.parquet"
