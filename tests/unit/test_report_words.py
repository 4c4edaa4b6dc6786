"""Tables, the outcome in words and the choice of samples: each figure is taken from the files, none is claimed beyond them."""

import csv
import io
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_results import Shape, stage_of, write_results

from npo_pipeline.analysis import numbers
from npo_pipeline.analysis.load import load_results
from npo_pipeline.analysis.report.curves import draw_curves
from npo_pipeline.analysis.report.html import schedules
from npo_pipeline.analysis.report.outcome import no_intervention, outcome, without_windows
from npo_pipeline.analysis.report.samples import LONGEST, choose_samples, mixed, visible
from npo_pipeline.analysis.report.tables import comparison_rows, csv_table, difficulty_rows, markdown_tables
from npo_pipeline.analysis.statistics import Interval
from npo_pipeline.analysis.summary import summarise_policies

ONE = Shape(seeds=(0,), steps=40, problems=24, samples=4)
TWO = Shape(seeds=(0, 1), steps=12, problems=12, samples=4, with_tokens=False, difficulties=("a | b <i>", "7"))


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    layout = write_results(tmp_path_factory.mktemp("one"), ONE)
    results = load_results(stage_of(ONE), layout)
    return layout, results, summarise_policies(results)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    results = load_results(stage_of(TWO), write_results(tmp_path_factory.mktemp("two"), TWO))
    return results, summarise_policies(results)


def test_with_one_seed_the_report_says_what_the_evaluation_files_say(one):
    layout, _, summaries = one
    for summary in summaries:
        content = json.loads(layout.evaluation(summary.policy).read_text())
        assert {name: vars(found) for name, found in summary.overall.items()} == content["overall"]
        found = {
            label: {"n_problems": summary.sizes[label]} | {n: vars(i) for n, i in row.items()} for label, row in summary.difficulty.items()
        }
        assert found == content["difficulty"]


def test_csv_has_a_row_per_policy_with_full_precision(one):
    _, results, summaries = one
    rows = list(csv.DictReader(io.StringIO(csv_table(results, summaries))))
    assert [row["policy"] for row in rows] == ["initial", "GRPO", "npo", "autonpo"]
    for row, summary in zip(rows, summaries, strict=True):
        assert float(row["mean@4"]) == summary.overall["mean@4"].value
        assert float(row["mean@4 difficulty=10"]) == summary.difficulty["10"]["mean@4"].value
    npo, grpo = rows[2], rows[1]
    assert float(npo["mean@4 minus GRPO"]) == pytest.approx(float(npo["mean@4"]) - float(grpo["mean@4"]))
    assert grpo["mean@4 minus GRPO"] == rows[0]["injected slots"] == ""
    assert int(float(npo["injected slots"])) == sum(row["guide/injected"] for row in results.seeds[0].runs["npo"].metrics)
    assert float(grpo["sampled tokens"]) == sum(4000 + step for step in range(40))


def test_grpo_reaches_its_own_final_reward_no_later_than_its_end(one):
    training = one[2][1].training
    assert training.steps_to_grpo <= 39
    assert one[2][2].training.steps_to_grpo < training.steps_to_grpo  # the fixture's npo learns more


def test_figures_over_seeds_are_means_of_the_seeds(two):
    results, summaries = two
    for summary in summaries:
        assert summary.overall["mean@4"].value == pytest.approx(sum(summary.seed_means) / 2)
        assert summary.overall["pass@1"] == summary.overall["mean@4"]
    assert "sampled tokens" in csv_table(results, summaries).splitlines()[0]
    assert all(row[-1] == numbers.NOTHING for row in comparison_rows(results, summaries)[1])


def test_markdown_cells_hold_hostile_labels(two):
    table = markdown_tables(*two)
    rows = [line for line in table.splitlines() if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in rows[:6]} == {len(comparison_rows(*two)[0]) + 1}
    assert {line.replace("\\|", "").count("|") for line in rows[6:]} == {len(difficulty_rows(*two)[0]) + 1}
    assert "<i>" not in table


def test_outcome_claims_what_the_intervals_allow(one):
    _, results, summaries = one
    spoken = " ".join(outcome(results, summaries))
    assert "GRPO raised held-out mean@4" in spoken
    assert "It made no intervention, so it trained as plain GRPO." in spoken
    assert "single training seed" in spoken


@pytest.mark.parametrize(
    ("interval", "words"),
    [
        (Interval(0.1, 0.05, 0.15), "+0.100 [+0.050, +0.150] against GRPO: an improvement."),
        (Interval(-0.1, -0.15, -0.05), "-0.100 [-0.150, -0.050] against GRPO: a loss."),
        (Interval(0.1, -0.01, 0.2), "+0.100 [-0.010, +0.200] against GRPO: not distinguishable from zero."),
    ],
)
def test_outcome_of_a_method_follows_its_interval(one, interval, words):
    _, results, summaries = one
    changed = [replace(s, to_grpo=interval) if s.policy == "npo" else s for s in summaries]
    assert any(words in sentence for sentence in outcome(results, changed) if sentence.startswith("npo"))


@pytest.mark.parametrize(
    ("interval", "words"),
    [(Interval(-0.1, -0.2, -0.05), "GRPO lowered held-out"), (Interval(0.01, -0.02, 0.03), "about where it was")],
)
def test_outcome_of_grpo_follows_its_interval(one, interval, words):
    _, results, summaries = one
    changed = [replace(s, to_initial=interval) if s.policy == "probe" else s for s in summaries]
    assert words in outcome(results, changed)[0]


def test_an_empty_schedule_is_explained():
    assert no_intervention(["warned", "no candidate"]) == "No intervention was made. The planner's account: no candidate."
    assert "gives no reason" in no_intervention([])


def test_a_run_without_a_schedule_is_not_called_one_without_guides(one):
    assert without_windows([0, 2, 0, 3]) == "It has no windows: guides took 5 slots, at 2 of 4 steps."
    assert without_windows([0, 0]) == "It has no windows, and no slot took a guide."
    _, results, _ = one
    (seed,) = results.seeds
    bare = replace(seed, runs=seed.runs | {"npo": replace(seed.runs["npo"], schedule=None)})
    (npo,) = (shown for shown in schedules(replace(results, seeds=(bare,))) if shown["method"] == "npo")
    assert npo["none"].startswith(f"It has no windows: guides took {npo['injected']} slots")
    still = replace(bare.runs["npo"], metrics=tuple(row | {"guide/injected": 0} for row in bare.runs["npo"].metrics))
    silent = replace(seed, runs=seed.runs | {"npo": still})
    lanes = {
        name: draw_curves(replace(results, seeds=(found,), methods=("npo",))).svg.count(b"no intervention")
        for name, found in (("guided", bare), ("silent", silent))
    }
    assert lanes["guided"] == 0 < lanes["silent"]


def test_what_a_method_sampled_beside_its_groups_is_among_its_tokens(one):
    _, results, summaries = one
    (seed,) = results.seeds
    rows = tuple(row | {"guide/tokens": 7} for row in seed.runs["npo"].metrics)
    more = summarise_policies(replace(results, seeds=(replace(seed, runs=seed.runs | {"npo": replace(seed.runs["npo"], metrics=rows)}),)))
    before, after = (next(s.training.tokens for s in some if s.policy == "npo") for some in (summaries, more))
    assert after == before + 7 * ONE.steps


def test_samples_mix_right_and_wrong_of_different_problems(one):
    chosen = choose_samples(one[1], 4)
    assert list(chosen) == ["initial", "GRPO", "npo", "autonpo"]
    for samples in chosen.values():
        assert [sample.verified for sample in samples] == [True, True, False, False]
        assert len({sample.problem_id for sample in samples}) == 4


@given(
    st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 3), st.booleans()), unique_by=lambda row: row[:2]),
    st.integers(0, 5),
    st.randoms(),
)
def test_the_choice_of_samples_hangs_on_the_rows_alone(rows, count, rng):
    table = [{"problem_id": problem, "sample_index": i, "verified": verified} for problem, i, verified in rows]
    chosen = mixed(table, count)
    assert chosen == mixed(rng.sample(table, len(table)), count)
    assert len(chosen) == min(count, len({row[0] for row in rows}))


def test_hidden_characters_become_visible_and_long_texts_are_cut():
    assert visible("a\u202eb\x00\n\tc\u200b") == "a\\u202eb\\u0000\n\tc\\u200b"
    assert visible("x" * (LONGEST + 7)).endswith("\n[7 more characters]")


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (numbers.duration(42.4), "42 s"),
        (numbers.duration(200), "3 min 20 s"),
        (numbers.duration(7500), "2 h 05 min"),
        (numbers.count(1204), "1,204"),
        (numbers.count(60.5), "60.5"),
        (numbers.duration(None), "-"),
    ],
)
def test_numbers_are_written_for_people(found, text):
    assert found == text


def test_a_run_from_which_nothing_was_learnt_is_said_first(one):
    _, results, summaries = one
    seed = results.seeds[0]
    silent = replace(seed.runs["npo"], metrics=tuple({**row, "reward/mean": 0.0, "guide/injected": 0} for row in seed.runs["npo"].metrics))
    changed = replace(results, seeds=(replace(seed, runs={**seed.runs, "npo": silent}),))
    assert outcome(changed, summaries)[0].startswith("Warning, npo, seed 0: nothing was rewarded in any step")
    assert "Warning" not in " ".join(outcome(results, summaries))
