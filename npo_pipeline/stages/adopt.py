"""adopt: a run that was made elsewhere in the probe's place: its checkpoints linked, its roll-outs imported, or prompts sampled anew."""

import sys

from npo_pipeline.configuration.adoption import log_file
from npo_pipeline.configuration.stages import AdoptStage
from npo_pipeline.context import Context
from npo_pipeline.preparation.adoption.alike import check_alike
from npo_pipeline.preparation.adoption.completions import of_the_run, read_completions
from npo_pipeline.preparation.adoption.log import read_log
from npo_pipeline.preparation.adoption.sources import sources
from npo_pipeline.stages.cli import parser, run_stage
from npo_pipeline.storage.manifest import verify


def run(context: Context[AdoptStage]) -> None:
    """All that can be wrong with what was made elsewhere is found before a model is loaded."""
    config, layout = context.config, context.layout
    verify(layout.prepare)
    found = sources(config.adopted)
    for note in check_alike(found, layout.initial_policy, config.lora, config.prompt):
        print(note, file=sys.stderr)
    metrics = read_log(log_file(config.log, {source.step: str(source.folder) for source in found}), config.steps)
    logged, dropped = (None, None) if config.completions is None else of_the_run(read_completions(config.completions), config.steps)
    if dropped:
        print(dropped, file=sys.stderr)

    from npo_pipeline.preparation.adoption.adopt import adopt

    adopt(context, found, metrics, logged)


if __name__ == "__main__":
    run_stage(parser("adopt", __doc__), AdoptStage, run)
