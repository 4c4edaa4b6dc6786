"""What a comparison opens with: each wording where it belongs, each number by hand."""

import json

import numpy as np
import pytest
from comparison_by_hand import by_hand, without_curves

from npo_pipeline.analysis.comparison.arrival import arrivals
from npo_pipeline.analysis.comparison.best import best_method, candidates, judged
from npo_pipeline.analysis.comparison.budget import held_out_curve
from npo_pipeline.analysis.comparison.compute_figure import MOST_CURVES, shown_policies
from npo_pipeline.analysis.comparison.near_far import near_and_far
from npo_pipeline.analysis.comparison.opening import opening, opening_sentences
from npo_pipeline.analysis.comparison.summary import summarise_comparison
from npo_pipeline.analysis.comparison.uncertainty import crossed_interval
from npo_pipeline.analysis.statistics import Interval

GRPO = [(2, 4), (2, 4)]  # of ten samples, after 200 and after 400 tokens, in both seeds
T_975_OF_1, T_9875_OF_1 = 12.706205, 25.451700  # quantiles of t with one degree of freedom: tan(pi (p - 1/2))


def opened(comparison):
    return opening(comparison, summarise_comparison(comparison))


def said(comparison, question):
    return opened(comparison)[question]["sentence"]


def test_a_gain_at_equal_tokens_and_at_equal_steps():
    comparison = by_hand({"probe": GRPO, "npo_ema": [(4, 6), (4, 6)]})
    assert said(comparison, "equal_tokens") == (
        "Guidance helped at equal sampled tokens, all that it needs paid for: npo_ema ended after 400 tokens at held-out mean@10 0.600, "
        "+0.200 [+0.200, +0.200] against GRPO."
    )
    assert said(comparison, "equal_steps") == (
        "Guidance helped at the same 4 steps: npo_ema ended at held-out mean@10 0.600, +0.200 [+0.200, +0.200] against GRPO, "
        "for 1.00 times GRPO's tokens."
    )
    found = opened(comparison)["equal_tokens"]
    assert (found["answer"], found["method"], found["tokens"], found["grpo"]) == ("yes", "npo_ema", 400, 0.4)


def test_a_loss():
    found = opened(by_hand({"probe": GRPO, "npo_ema": [(1, 3), (1, 3)]}))
    assert found["equal_tokens"]["sentence"].startswith("Guidance hurt at equal sampled tokens")
    assert found["equal_steps"]["sentence"].startswith("Guidance hurt at the same 4 steps")
    assert found["equal_tokens"]["answer"] == found["equal_steps"]["answer"] == found["arrival"]["answer"] == "no"
    assert found["arrival"]["sentence"] == "No method came to GRPO's final held-out mean@10 in any seed."


def test_what_cannot_be_told_apart():
    """Gains of .2 and .3: a mean of .25 with a standard error of .05, known with one degree of freedom."""
    found = opened(by_hand({"probe": GRPO, "npo_ema": [(4, 6), (4, 7)]}))["equal_tokens"]
    reach = 0.05 * T_975_OF_1
    assert found["minus_grpo"]["npo_ema"] == pytest.approx({"value": 0.25, "low": 0.25 - reach, "high": 0.25 + reach})
    assert found["answer"] == "open"
    assert found["sentence"].startswith("Whether guidance helped cannot be told from noise at equal sampled tokens")
    assert "+0.250 [-0.385, +0.885] against GRPO" in found["sentence"]


def test_the_best_of_two_has_a_wider_interval_and_says_of_how_many():
    comparison = by_hand({"probe": GRPO, "npo_ema": [(4, 6), (4, 7)], "hint": [(1, 3), (1, 3)], "grpo_long": [(2, 4, 5)] * 2})
    found = opened(comparison)
    tokens = found["equal_tokens"]
    assert (tokens["method"], tokens["compared"], tokens["confidence_of_each"]) == ("npo_ema", 2, 0.975)
    assert tokens["minus_grpo"]["npo_ema"]["high"] == pytest.approx(0.25 + 0.05 * T_9875_OF_1, rel=1e-6)
    assert "the best of 2 methods, npo_ema, ended after 400 tokens" in tokens["sentence"]
    assert tokens["sentence"].endswith("against GRPO (grpo_long); of the 2, 0 can be told above GRPO and 1 below.")
    assert "the best of 2 methods, npo_ema, ended at held-out" in found["equal_steps"]["sentence"]
    assert found["basis"]["sentence"].endswith("so wide that those of all of them hold at once (Bonferroni).")


def test_a_method_told_above_goes_before_a_higher_one_that_may_be_noise():
    noise, sure = Interval(0.3, -0.1, 0.7), Interval(0.1, 0.05, 0.15)
    assert best_method({"a": noise, "b": sure}) == "b"
    assert judged({"a": noise, "b": sure})["answer"] == "yes"
    assert judged({"a": noise, "c": Interval(-0.1, -0.2, -0.05)})["answer"] == "open"


def test_controls_are_no_candidates_where_there_is_a_method():
    both = {"probe": GRPO, "resample": GRPO, "grpo_long": GRPO}
    assert candidates(by_hand(both | {"hint": GRPO})) == ["hint"]
    assert candidates(by_hand(both)) == ["resample"]
    assert candidates(by_hand({"probe": GRPO, "grpo_long": GRPO})) == []


def test_where_now_the_method_ended_first_and_now_grpo_that_is_said():
    """npo_ema takes 200 tokens in one seed and 600 in the other, GRPO 400 in both: compared at 200 and at 400, 300 on average."""
    comparison = by_hand({"probe": GRPO, "npo_ema": [(4,), (4, 6, 7)]})
    assert "npo_ema was, after 300 tokens, where the shorter of both runs had ended, at" in said(comparison, "equal_tokens")


def test_a_method_that_goes_on_is_compared_where_grpo_ended():
    """npo_ema takes 150 tokens a step: 300 with .3, 600 with .9, so .5 at 400."""
    comparison = by_hand({"probe": GRPO, "npo_ema": [(3, 9)] * 2}, tokens={"npo_ema": 150})
    assert "npo_ema was, after 400 tokens, where GRPO had ended, at held-out mean@10 0.500, +0.100" in said(comparison, "equal_tokens")
    assert said(comparison, "equal_steps").endswith("for 1.50 times GRPO's tokens.")


def test_two_passes_need_longer_grpo():
    right = {"probe": GRPO, "npo": [(4, 6)] * 2}
    found = opened(by_hand(right, before={"npo": 450}))
    assert found["equal_tokens"]["answer"] == "unknown"
    assert found["equal_tokens"]["sentence"] == (
        "At equal sampled tokens nothing can be said. Not compared, since GRPO was not run for the tokens that these need before they "
        "begin (the method grpo_long is): npo."
    )
    longer = opened(by_hand(right | {"grpo_long": [(2, 4, 5, 6, 8)] * 2}, before={"npo": 450}))["equal_tokens"]
    assert (longer["tokens"], longer["minus_grpo"]["npo"]["value"]) == (850, pytest.approx(0.6 - 0.65))
    assert found["arrival"]["share"]["npo"] == pytest.approx(650 / 400), "after 200 of its own tokens"
    assert (
        "Guidance needs more tokens for GRPO's final held-out mean@10: npo came there in 2 of 2 seeds, with 1.62 [1.62, 1.62] times"
        in (found["arrival"]["sentence"])
    )


def test_how_few_tokens_the_best_needs():
    """GRPO comes to .4 at 400 tokens. npo_ema: at 200 in both seeds; hint: at 300 on the line from .2 to .6 in one, never in the other."""
    comparison = by_hand({"probe": GRPO, "npo_ema": [(4, 6)] * 2, "hint": [(2, 6), (2, 3)]})
    found = opened(comparison)["arrival"]
    assert found["sentence"] == (
        "Guidance needs fewer tokens for GRPO's final held-out mean@10: the best of 2 methods, npo_ema, came there in 2 of 2 seeds, "
        "with 0.50 [0.50, 0.50] times GRPO's tokens."
    )
    assert (found["answer"], found["share"], found["reached"]) == ("yes", {"npo_ema": 0.5, "hint": 0.75}, {"npo_ema": 2, "hint": 1})
    assert found["interval"]["npo_ema"] == pytest.approx([0.5, 0.5])


def test_seeds_that_never_came_there_are_counted_and_give_no_certainty():
    found = opened(by_hand({"probe": GRPO, "hint": [(2, 6), (2, 3)]}))["arrival"]
    assert found["answer"] == "open"
    assert found["sentence"].endswith("cannot be told from noise: hint came there in 1 of 2 seeds, with 0.75 times GRPO's tokens in these.")


def test_one_that_is_mostly_sooner_goes_before_one_that_is_always_late():
    """hint comes there sooner in two of three seeds; npo in all of them, after GRPO has ended."""
    comparison = by_hand({"probe": [(2, 4)] * 3, "npo": [(4, 6)] * 3, "hint": [(2, 6), (2, 6), (2, 3)]}, before={"npo": 450})
    found = opened(comparison)["arrival"]
    assert (found["method"], found["answer"]) == ("hint", "open")


def test_grpo_that_learns_nothing_sets_no_goal():
    comparison = by_hand({"probe": [(2, 0), (2, 4)], "npo_ema": [(4, 6)] * 2})
    assert arrivals(comparison, ["npo_ema"], "last") == []
    assert said(comparison, "arrival") == (
        "How few tokens a method needs for GRPO's final held-out mean@10 is unknown: GRPO ended no higher than it began, or tokens were "
        "not logged."
    )


def test_without_curves_the_training_reward_is_compared_and_the_setting_named():
    comparison = without_curves(by_hand({"probe": GRPO, "npo_ema": GRPO}, npo_ema=lambda step: {"reward/mean": step / 10 + 0.2}))
    found = opened(comparison)
    assert found["equal_tokens"]["figure"] == "reward"
    assert found["equal_tokens"]["sentence"].startswith(
        "Guidance helped at equal sampled tokens, all that it needs paid for, by the training reward: npo_ema ended after 400 tokens at "
        "training reward (smoothed) 0."
    )
    assert "+0.200 [+0.200, +0.200] against GRPO. Held-out scores there are not known" in found["equal_tokens"]["sentence"]
    assert found["equal_tokens"]["sentence"].endswith("(comparison.every=0.25).")
    assert "GRPO's final training reward (smoothed)" in found["arrival"]["sentence"]


def test_one_seed():
    """Two problems with gains of .1 and .3: a mean of .2 with a standard error of .1 over problems."""
    comparison = by_hand({"probe": [(2, 4)], "npo_ema": [(4, (5, 7))]})
    found = opened(comparison)
    assert found["equal_tokens"]["minus_grpo"]["npo_ema"]["high"] == pytest.approx(0.2 + 0.1 * T_975_OF_1)
    assert found["arrival"]["sentence"].endswith(
        "cannot be told from noise: npo_ema came there in 1 of 1 seed, with 0.50 times GRPO's tokens."
    )
    assert found["basis"]["sentence"] == "One training seed: intervals are over problems, and another seed may come out otherwise."
    bare = opened(without_curves(comparison))["equal_tokens"]
    assert bare["answer"] == "unknown"
    assert "nothing can be said. Of one seed a training reward has no interval." in bare["sentence"]
    assert bare["sentence"].endswith("(comparison.every=0.25).")


def test_how_many_seeds_and_initial_policies():
    comparison = by_hand({"probe": GRPO, "npo_ema": GRPO})
    assert said(comparison, "basis") == (
        "All this rests on 2 training seeds from 1 initial policy, and another one may come out otherwise (policy.cold_starts). "
        "Brackets: 95% intervals over 2 seeds and the problems."
    )
    comparison.stage.cold_starts = 2
    assert said(by_hand({"probe": GRPO * 2, "npo_ema": GRPO * 2}), "basis").startswith("All this rests on 4 training seeds")
    both = by_hand({"probe": GRPO * 2, "npo_ema": GRPO * 2})
    both.stage.cold_starts = 2
    assert "4 training seeds from 2 initial policies. Brackets: 95% intervals over 2 initial policies" in said(both, "basis")


def test_plateaus_are_counted_over_the_seeds_that_are_long_enough_to_tell():
    def stands(step):
        return {"reward/mean": 0.5 * min(step / 40, 1.0) + 0.02 * np.sin(3 * step), "groups/all_wrong": 0.5}

    long, short = [(0,) * 50] * 2, [(0, 0)] * 2
    flat = by_hand({"probe": long, "grpo_long": long}, probe=stands)
    assert said(flat, "plateau") == (
        "GRPO is on a plateau in 2 of 2 seeds, grpo_long in 0 of 2 seeds (a plateau: reward flat over the last half of the run, at least "
        "20% of its groups all wrong)."
    )
    assert opened(flat)["plateau"]["seeds"] == {"probe": {"seeds": 2, "of": 2}, "grpo_long": {"seeds": 0, "of": 2}}
    assert said(by_hand({"probe": short}), "plateau").endswith("cannot be told: that takes 40 steps whose rewards are known.")


def ahead(steps):
    return lambda step: {"guide/step": step + steps}


NEAR_FAR = [
    ([(3, 6)] * 2, [(3, 5)] * 2, "Near guides did better: npo_rolling (2 steps ahead) ended +0.100 [+0.100, +0.100] in held-out mean@10"),
    ([(3, 5)] * 2, [(3, 6)] * 2, "Far guides did better: npo_rolling (2 steps ahead) ended -0.100"),
    ([(3, 6), (3, 4)], [(3, 5)] * 2, "Near and far guides cannot be told apart: npo_rolling (2 steps ahead) ended +0.000"),
]


@pytest.mark.parametrize(("near", "far", "start"), NEAR_FAR)
def test_near_against_far(near, far, start):
    comparison = by_hand({"probe": GRPO, "npo_rolling": near, "distant": far}, npo_rolling=ahead(2), distant=ahead(9))
    sentence = said(comparison, "near_far")
    assert sentence.startswith(start)
    assert sentence.endswith("against distant (9 steps ahead).")


def test_near_and_far_are_chosen_by_name_and_distance_never_by_result():
    runs = {"probe": GRPO, "npo": GRPO, "rlep": GRPO, "npo_late": GRPO, "autonpo": GRPO}
    assert near_and_far(by_hand(runs, npo=ahead(10), npo_late=ahead(10), autonpo=ahead(50))) == ("npo", "rlep")
    assert near_and_far(by_hand(runs, npo=ahead(10), npo_late=ahead(15))) == ("npo", "npo_late")
    assert near_and_far(by_hand({"probe": GRPO, "npo": GRPO}, npo=ahead(10))) is None
    assert near_and_far(by_hand({"probe": GRPO, "mine": GRPO, "yours": GRPO}, mine=ahead(9), yours=ahead(3))) == ("yours", "mine")
    assert near_and_far(by_hand({"probe": GRPO, "rlep": GRPO})) is None
    assert said(by_hand({"probe": GRPO, "npo_ema": GRPO}), "near_far").startswith("Near against far was not compared")


def test_no_method_at_all():
    found = opened(by_hand({"probe": GRPO, "grpo_long": GRPO}))
    assert [found[name]["answer"] for name in ("equal_tokens", "equal_steps", "arrival")] == ["not run"] * 3
    assert opening_sentences(found)[0] == "At equal sampled tokens nothing can be said: no method was run."


@pytest.mark.parametrize("seeds", [1, 2])
def test_the_opening_is_json(seeds):
    for comparison in (by_hand({"probe": GRPO[:seeds], "hint": [(2, 6), (2, 3)][:seeds], "rlep": [(0, 0)] * seeds}),):
        for shown in (comparison, without_curves(comparison)):
            json.dumps(opened(shown), allow_nan=False)


def test_the_held_out_curve_is_at_the_mean_tokens_of_each_checkpoint():
    curve = held_out_curve(by_hand({"probe": [(2, 4), (4, 4)], "npo": GRPO}, before={"npo": 50}), "npo")
    assert curve.tokens.tolist() == [50, 250, 450]
    assert curve.values_SN.tolist() == [[0.0, 0.2, 0.4], [0.0, 0.2, 0.4]]


def test_the_figure_shows_the_methods_that_end_highest_in_the_order_of_the_table():
    runs = {"probe": GRPO, "grpo_long": [(9, 9)] * 2} | {f"m{i}": [(2, i)] * 2 for i in range(MOST_CURVES + 2)}
    comparison = by_hand(runs)
    assert shown_policies(comparison, summarise_comparison(comparison)) == ["grpo_long", *(f"m{i}" for i in range(2, MOST_CURVES + 2))]


def differences(rng, methods, seeds, problems):
    """Methods that are all worth what GRPO is, so that every difference is noise; GRPO's own is in all of them."""
    grpo_S1, grpo_P = rng.normal(0, 0.02, (seeds, 1)), rng.normal(0, 0.07, problems)
    grpo_SP = grpo_S1 + grpo_P + rng.normal(0, 0.1, (seeds, problems))
    own = [rng.normal(0, 0.02, (seeds, 1)) + rng.normal(0, 0.07, problems) for _ in range(methods)]
    return [values_SP + rng.normal(0, 0.1, (seeds, problems)) - grpo_SP for values_SP in own]


@pytest.mark.parametrize("seeds", [2, 4, 8])
def test_the_best_of_many_that_are_worth_nothing_is_seldom_told_above(seeds):
    """Six methods, 300 draws: intervals of 95% each do not hold all at once; those for all six do, as often as they say."""
    rng = np.random.default_rng(seeds)
    draws = [differences(rng, 6, seeds, 60) for _ in range(300)]
    told, held = {}, {}
    for count in (1, 6):
        found = [{str(i): crossed_interval(values_SP, 0.95, count) for i, values_SP in enumerate(draw)} for draw in draws]
        told[count] = np.mean([judged(own)["answer"] == "yes" for own in found])
        held[count] = np.mean([all(interval.low <= 0.0 <= interval.high for interval in own.values()) for own in found])
    assert held[1] < 0.9 < 0.94 < held[6]
    assert told[6] < 0.04 < told[1]
