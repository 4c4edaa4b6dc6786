"""prepare: problems with rendered prompts and their images, and the initial policy as a Hugging Face directory.

With several cold starts each is made by the `--seed` of a training seed that starts from it, in a folder of its own.
"""

from npo_pipeline.configuration.stages import PrepareStage
from npo_pipeline.context import Context
from npo_pipeline.stages.cli import parser, run_stage
from npo_pipeline.storage.lock import only_writer
from npo_pipeline.storage.manifest import NAME
from npo_pipeline.tasks.checks import check_source, try_function
from npo_pipeline.tasks.sources import load_cold_start, load_problems


def run(context: Context[PrepareStage]) -> None:
    task, cold_start, folder = context.config.task, context.config.policy.cold_start, context.layout.prepare
    check_source(task)
    train, held_out = load_problems(task)
    try_function(task.verifier, train[0])
    cold = load_cold_start(task, cold_start.examples) if cold_start.steps else []
    with only_writer(context.layout.root, f".{folder.name}.lock"):
        (folder / NAME).unlink(missing_ok=True)

        from npo_pipeline.preparation.prepare import prepare

        prepare(context, train, held_out, cold)


if __name__ == "__main__":
    run_stage(parser("prepare", __doc__), PrepareStage, run)
