"""teacher: an external teacher for LUFFY, made when a method asks: the policy's family, another start, trained on the task itself."""

from dataclasses import replace

from npo_pipeline.configuration.stages import TeacherStage
from npo_pipeline.context import Context
from npo_pipeline.stages.cli import parser, run_stage
from npo_pipeline.storage.manifest import NAME, verify
from npo_pipeline.tasks.sources import load_cold_start


def run(context: Context[TeacherStage]) -> None:
    layout, task, teacher = context.layout, context.config.task, context.config.teacher
    verify(layout.prepare)
    # The task's own parameters, not the cold start's: a teacher knows what the policy is to learn. Held-out questions stay out.
    examples = load_cold_start(replace(task, cold_start_config={}), teacher.cold_start.examples)
    (layout.teacher / NAME).unlink(missing_ok=True)

    from npo_pipeline.preparation.teacher import make_teacher

    make_teacher(context, examples)


if __name__ == "__main__":
    run_stage(parser("teacher", __doc__), TeacherStage, run)
