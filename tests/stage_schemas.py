"""The dataclass of each stage, by the first word of its configuration's name."""

from npo_pipeline.configuration import stages as c

SCHEMAS = {
    "prepare": c.PrepareStage,
    "probe": c.ProbeStage,
    "guide": c.GuideStage,
    "plan": c.PlanStage,
    "guided": c.GuidedStage,
    "evaluate": c.EvaluateStage,
    "report": c.ReportStage,
    "comparison": c.ComparisonStage,
    "demonstrate": c.DemonstrateStage,
    "teacher": c.TeacherStage,
    "average": c.AverageStage,
    "curve": c.CurveStage,
    "measure": c.MeasureStage,
}
