"""A run of many steps as files only: a real step's roll-outs and metrics, written and read as the stages write and read them."""

from collections.abc import Callable
from pathlib import Path

from harness import Experiment
from lengths import fixed
from report_results import Shape, stage_of, write_results
from steps import Case, OddCharacters, Ours

from npo_pipeline.grpo.step import run_step
from npo_pipeline.report.build import build_report
from npo_pipeline.storage.guides import read_outcomes
from npo_pipeline.storage.layout import Layout
from npo_pipeline.storage.manifest import verify
from npo_pipeline.storage.parquet import read_problems
from npo_pipeline.storage.run_files import RunFiles

SHA = "0" * 64


class Written:
    """A run folder of `steps` steps, and beside it the results of an experiment of as many (tests/report_results.py)."""

    def __init__(self, made: Experiment, run: Path, results: Path, steps: int) -> None:
        self.run, self.results, self.steps = run, results, steps
        self.files = RunFiles(run, SHA)
        problems = [problem for problem in read_problems(made.folder / "prepare/problems.parquet") if problem.split == "train"]
        root, shares = made.root, fixed(made.root.sampling.max_new_tokens)
        sizes = (root.grpo, root.sampling, shares, root.engine.max_batch, 0)
        ours = Ours(Case(made.folder / "prepare/policy", root.policy.dtype, problems, OddCharacters(), *sizes), run.parent / "one-step")
        self.outcome = run_step(ours.trainer, 0, SHA)

    def work(self) -> dict[str, Callable[[], object]]:
        layout, shape = Layout(self.results), Shape(seeds=(0,), steps=self.steps)
        return {
            "write": self.write,
            "manifest": lambda: self.files.finish("probe", {"steps": self.steps}),
            "verify": lambda: verify(self.run),
            "resume": self.files.whole_steps,
            "outcomes of half the run": lambda: read_outcomes(self.run, self.steps // 2, self.steps),
            "results for the report, made": lambda: write_results(self.results, shape),
            "report": lambda: build_report(stage_of(shape), layout, SHA),
        }

    def write(self) -> None:
        self.files.start(0)
        for step in range(self.steps):
            rows = [row | {"step": step} for row in self.outcome.rows]
            self.files.write_step(step, rows, [], self.outcome.metrics)
            self.files.write_timings(step, self.outcome.timings)
