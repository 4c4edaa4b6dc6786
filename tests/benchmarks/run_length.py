"""Runs of many steps as files only: a real step's roll-outs and metrics, written and read as the stages write and read them."""

from collections.abc import Callable
from pathlib import Path

from harness import Experiment
from lengths import fixed
from report_results import Shape, stage_of, write_results
from steps import Case, Ours, SomeCharacters

from npo_pipeline.analysis.report.build import build_report
from npo_pipeline.grpo.step import run_step
from npo_pipeline.storage.guides import read_outcomes
from npo_pipeline.storage.layout import Layout
from npo_pipeline.storage.manifest import verify
from npo_pipeline.storage.parquet import read_problems
from npo_pipeline.storage.run_files import RunFiles

SHA = "0" * 64
ROWS = 32  # of a step: what is asked is how cost grows over steps


class Written:
    """A run folder, and beside it the results of an experiment of as many steps (tests/report_results.py)."""

    def __init__(self, made: Experiment, out: Path) -> None:
        self.run, self.results = out / "run", out / "results"
        self.files = RunFiles(self.run, SHA)
        problems = read_problems(made.folder / "prepare/problems.parquet", "train")
        root, shares = made.root, fixed(made.root.sampling.max_new_tokens)
        sizes = (root.grpo, root.sampling, shares, root.engine.max_batch, 0)
        ours = Ours(Case(made.folder / "prepare/policy", root.policy.dtype, problems, SomeCharacters(), *sizes), out / "one-step")
        self.outcome = run_step(ours.trainer, 0, SHA)

    def work(self, steps: int) -> dict[str, Callable[[], object]]:
        layout, shape = Layout(self.results), Shape(seeds=(0,), steps=steps)
        return {
            "write": lambda: self.write(steps),
            "manifest": lambda: self.files.finish("probe", {"steps": steps}),
            "verify": lambda: verify(self.run),
            "resume": self.files.whole_steps,
            "outcomes of half the run": lambda: read_outcomes(self.run, steps // 2, steps),
            "results for the report, made": lambda: write_results(self.results, shape),
            "report": lambda: build_report(stage_of(shape), layout, SHA),
        }

    def write(self, steps: int) -> None:
        self.files.start(0)
        for step in range(steps):
            rows = [row | {"step": step} for row in self.outcome.rows[:ROWS]]
            self.files.write_step(step, rows, [], self.outcome.metrics)
            self.files.write_timings(step, self.outcome.timings)
