"""What report and comparison check before they read it: the files of runs, guides and evaluations are those that their stages left."""

from collections.abc import Sequence
from dataclasses import replace

from npo_pipeline.storage.evaluations import verify_evaluation
from npo_pipeline.storage.layout import Layout, averaged
from npo_pipeline.storage.manifest import verify
from npo_pipeline.storage.run_files import INTERVENTIONS, METRICS

PROBLEMS, SIGNAL = "problems", "signal"  # how the names begin of what is read of prepare and guide


def verify_reported(layout: Layout, seeds: Sequence[int], methods: Sequence[str], with_averages: bool = False) -> None:
    """Raises ArtifactError naming the first file that is missing, damaged or of another run."""
    runs = ("probe", *methods)
    layouts = [replace(layout, seed=seed) for seed in seeds]
    for prepared in dict.fromkeys(own.prepare for own in layouts):
        verify(prepared, PROBLEMS)
    for own in layouts:
        for name in runs:
            verify(own.run(name), METRICS)
            verify(own.run(name), INTERVENTIONS)
        for name in ("initial", *runs, *(map(averaged, runs) if with_averages else ())):
            verify_evaluation(own, name)
        if own.guide.exists():  # a comparison of methods without guides has none
            verify(own.guide, SIGNAL)
