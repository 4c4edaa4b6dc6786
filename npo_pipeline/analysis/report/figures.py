"""All figures of a report, in the order in which it shows them."""

from collections.abc import Sequence

from npo_pipeline.analysis.report.answer import Costs
from npo_pipeline.analysis.report.answer_figure import draw_answer
from npo_pipeline.analysis.report.curves import draw_curves
from npo_pipeline.analysis.report.evaluation_figure import draw_difficulty, draw_evaluation
from npo_pipeline.analysis.report.injection_figure import draw_injection
from npo_pipeline.analysis.report.signal_figure import draw_signal
from npo_pipeline.analysis.results import Results
from npo_pipeline.analysis.style import Drawing
from npo_pipeline.analysis.summary import PolicySummary


def draw_figures(results: Results, summaries: Sequence[PolicySummary], costs: Costs | None) -> dict[str, Drawing]:
    """The drawings by name: answer, curves, injection, evaluation; signal where guides were made; difficulty where there are several."""
    drawings = (
        draw_answer(results, summaries, costs),
        draw_curves(results),
        draw_signal(results) if any(seed.signal for seed in results.seeds) else None,
        draw_injection(results),
        draw_evaluation(results, summaries),
        draw_difficulty(results, summaries),
    )
    return {drawing.name: drawing for drawing in drawings if drawing}
