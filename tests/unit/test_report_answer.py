"""What a report opens with: each wording where it belongs, each number by hand."""

from dataclasses import replace

import pytest
from report_results import Shape, stage_of, write_results

from npo_pipeline.analysis import numbers
from npo_pipeline.analysis.costs import NOTHING, Cost, Spend
from npo_pipeline.analysis.load import load_results
from npo_pipeline.analysis.report.answer import answer, best_method, equal_tokens
from npo_pipeline.analysis.report.answer_figure import draw_answer
from npo_pipeline.analysis.report.build import known_costs
from npo_pipeline.analysis.results import Run
from npo_pipeline.analysis.statistics import Interval, bootstrap_difference
from npo_pipeline.analysis.summary import summarise_policies

SHAPE = Shape(seeds=(0,), steps=4, problems=8, samples=4, methods=("npo", "autonpo"))
COSTS = [
    {
        "probe": Cost(Spend(1000, None), NOTHING),
        "npo": Cost(Spend(1100, None), Spend(1900, None)),
        "autonpo": Cost(Spend(1000, None), Spend(1900, None)),
        "grpo_long": Cost(Spend(2400, None), NOTHING),
    }
]


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    layout = write_results(tmp_path_factory.mktemp("answer"), SHAPE)
    results = load_results(stage_of(SHAPE), layout)
    return layout, results, summarise_policies(results)


def with_npo(summaries, low, high):
    """The summaries with npo as the best method, and this interval of its difference to GRPO."""
    changed = []
    for summary in summaries:
        score = {"npo": 0.9}.get(summary.policy, 0.5)
        overall = dict(summary.overall) | {"mean@4": Interval(score, score - 0.1, score + 0.1)}
        difference = Interval((low + high) / 2, low, high) if summary.policy == "npo" else summary.to_grpo
        changed.append(replace(summary, overall=overall, to_grpo=difference, to_grpo_for_all=difference))
    return changed


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.02, 0.06, "Guidance helped at the same 4 steps: the best of 2 methods, npo, ended at held-out mean@4 0.900, +0.040"),
        (-0.06, -0.02, "Guidance hurt at the same 4 steps: the best of 2 methods, npo, ended at held-out mean@4 0.900, -0.040"),
        (-0.02, 0.06, "Whether guidance helped cannot be told from noise at the same 4 steps: the best of 2 methods, npo, ended at"),
    ],
)
def test_no_more_is_said_than_the_interval_allows(read, low, high, said):
    _, results, summaries = read
    assert answer(results, with_npo(summaries, low, high), COSTS)[0].startswith(said)


def test_the_best_of_two_is_judged_by_an_interval_for_both(read):
    _, results, summaries = read
    best = best_method(results, summaries)
    one, both = best.to_grpo, best.to_grpo_for_all
    assert both.high - both.low > one.high - one.low
    settings, (seed,) = results.settings, results.seeds
    shares = [{key: n / settings.samples for key, n in seed.evaluations[run].correct.items()} for run in (best.policy, "probe")]
    assert both == bootstrap_difference(*shares, settings.resamples, 1 - (1 - settings.confidence) / 2, settings.bootstrap_seed)
    said = answer(results, summaries, COSTS)[0]
    assert f"{numbers.difference(both)} against GRPO (97.5%, as the best of 2)." in said
    alone = replace(results, methods=("npo",))
    (npo,) = (summary for summary in summarise_policies(alone) if summary.policy == "npo")
    assert npo.to_grpo_for_all == npo.to_grpo
    assert "%" not in answer(alone, summarise_policies(alone), COSTS)[0]


def run_of(tokens, rewards):
    return Run(tuple({"step": i, "completions/tokens": t, "reward/mean": r} for i, (t, r) in enumerate(zip(tokens, rewards, strict=True))))


def test_equal_tokens_by_hand(read):
    """GRPO has sampled 100, 200, 300; npo 150, 300, 450: both know 300 tokens, npo's second step, GRPO's third."""
    _, results, _ = read
    seed = replace(results.seeds[0], runs={"probe": run_of([100] * 3, [0.0, 0.0, 1.0]), "npo": run_of([150] * 3, [1.0, 1.0, 1.0])})
    found = equal_tokens(replace(results, seeds=(seed,)), "npo")
    # The newest of three steps has the weight .2 of .2 + .16 + .128.
    assert (found.tokens, found.own, found.grpo) == (300, pytest.approx(1.0), pytest.approx(0.2 / 0.488))


def test_tokens_that_were_not_logged_are_unknown(read):
    _, results, summaries = read
    bare = replace(results.seeds[0], runs={name: Run(({"step": 0, "reward/mean": 0.1},)) for name in results.runs})
    said = answer(replace(results, seeds=(bare,)), with_npo(summaries, 0.02, 0.06), None)
    assert said[1] == "At the same sampled tokens: unknown, since the runs did not log their tokens."
    assert said[2] == "Starting from nothing, with probe and guides paid for: unknown, since not all of their tokens are on record."


def test_what_grpo_was_not_run_for_is_open(read):
    _, results, summaries = read
    said = answer(results, with_npo(summaries, 0.02, 0.06), COSTS)[2]
    assert "it took 3,000 tokens, 3.00 times GRPO's; GRPO was not run for as many, so which is better at that price is open" in said


def test_what_a_method_brought_for_grpos_tokens_is_said_beside_a_dearer_one(read):
    _, results, summaries = read
    changed = with_npo(summaries, 0.02, 0.06)
    (autonpo,) = (summary for summary in changed if summary.policy == "autonpo")
    cheap = [costs | {"autonpo": Cost(Spend(980, None), NOTHING)} for costs in COSTS]
    said = answer(results, changed, cheap)[3]
    gain = numbers.difference(autonpo.to_grpo_for_all)
    assert "for about as many tokens as GRPO's own, probe and guides paid for: autonpo ended at held-out mean@4 0.500, " in said
    assert said.endswith(f", {gain} against GRPO (97.5%, as the best of 2), for 0.98 times its tokens.")
    shorter = [costs | {"autonpo": Cost(Spend(500, None), NOTHING)} for costs in COSTS]
    for costs in (COSTS, None, shorter, [costs | {"npo": Cost(Spend(980, None), NOTHING)} for costs in cheap]):
        assert len(answer(results, changed, costs)) == 3, "none took as many, nothing is known of costs, or the best itself did"


def test_longer_grpo_answers_it(read):
    _, results, summaries = read
    changed = with_npo(summaries, 0.02, 0.06)
    grpo = next(summary for summary in changed if summary.policy == "probe")
    long = replace(grpo, policy="grpo_long", label="grpo_long", overall=dict(grpo.overall) | {"mean@4": Interval(0.95, 0.9, 1.0)})
    said = answer(results, [*changed, long], COSTS)[2]
    assert said.endswith("longer GRPO with 80% of these tokens ended at 0.950: npo is -0.050 against that.")


def test_controls_are_no_guidance(read):
    _, results, summaries = read
    npo = next(summary for summary in summaries if summary.policy == "npo")
    better = replace(npo, policy="grpo_long", overall=dict(npo.overall) | {"mean@4": Interval(0.99, 0.9, 1.0)})
    found = best_method(replace(results, methods=("npo", "grpo_long")), [*summaries, better])
    assert found.policy == "npo"
    assert answer(replace(results, methods=()), summaries[:2], COSTS) == []


def test_costs_that_are_not_on_record_stop_no_report(read):
    layout, results, summaries = read
    assert known_costs(layout, results) is None  # the fixture has no shards of guides
    drawing = draw_answer(results, summaries, COSTS)
    assert drawing.svg == draw_answer(results, summaries, COSTS).svg
    assert drawing.svg != draw_answer(results, summaries, None).svg
