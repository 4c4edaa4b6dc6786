"""Problems from reasoning-gym: real datasets, generated in a real worker process."""

import dataclasses
import json
import logging
import os
import subprocess
import sys
from typing import Any

import pytest

from npo_pipeline.configuration.compose import load_root
from npo_pipeline.configuration.settings import TaskConfig
from npo_pipeline.errors import ConfigError, DataError
from npo_pipeline.tasks.checks import check_source
from npo_pipeline.tasks.sources import load_cold_start, load_problems


def gym_task(name: str, **changes: Any) -> TaskConfig:
    return dataclasses.replace(
        load_root(overrides=["task=reasoning_gym", f"task.name={name}", "task.train_size=40", "task.eval_size=10"]).task, **changes
    )


def test_splits_are_fixed_disjoint_and_survive_json() -> None:
    task = gym_task("chain_sum", question_pattern="problem: (.*)", difficulty_key="num_terms")
    train, evaluation = load_problems(task)
    assert (len(train), len(evaluation)) == (40, 10)
    assert (train[7].problem_id, train[7].split, evaluation[3].problem_id) == ("train-000007", "train", "eval-000003")
    assert len({problem.question for problem in train + evaluation}) == 50
    assert load_problems(task) == (train, evaluation)
    assert json.loads(json.dumps(train[0].metadata)) == train[0].metadata
    assert all(signed_sum(problem.question) == int(problem.answer) for problem in train)
    assert {problem.difficulty for problem in train} <= set("23456")


def signed_sum(question: str) -> int:
    terms = question.removesuffix(" =").replace("- ", "-").replace("+ ", "").split()
    return sum(map(int, terms))


def test_neighbouring_seeds_share_no_stream() -> None:
    first, second = (load_problems(gym_task("chain_sum", seed=seed))[0] for seed in (0, 1))
    assert len({p.question for p in first} & {p.question for p in second}) <= 2


def test_a_larger_train_size_keeps_the_evaluation_problems() -> None:
    task = gym_task("number_sorting")
    small, large = load_problems(task)[1], load_problems(dataclasses.replace(task, train_size=90))[1]
    assert [p.question for p in small] == [p.question for p in large]


def test_a_small_question_space_gives_what_it_has(caplog: pytest.LogCaptureFixture) -> None:
    task = gym_task("chain_sum", config={"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1}, train_size=900, eval_size=100)
    with caplog.at_level(logging.WARNING):
        train, evaluation = load_problems(task)
    assert len(train) + len(evaluation) == 200  # 10 * 10 * 2 sums and differences of two digits
    assert len(evaluation) == 20
    assert "only 200 different questions, 1000 were asked for" in caplog.text


def test_cold_start_has_its_own_parameters_and_no_evaluation_question() -> None:
    parameters = {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1}
    task = gym_task("chain_sum", config=parameters, train_size=150, eval_size=50, cold_start_config={"max_terms": 3})
    cold = load_cold_start(task, 300)
    assert len(cold) == 300
    assert (cold[0].problem_id, cold[0].split, cold[0].metadata["parameters"]["max_terms"]) == ("cold-000000", "cold", 3)
    assert not {p.question for p in cold} & {p.question for p in load_problems(task)[1]}


def test_cold_start_shows_the_form_that_the_verifier_reads() -> None:
    task = gym_task("gcd")
    task.verifier.extract = "answer_tag"
    assert all(p.answer.startswith("<answer>") for p in load_cold_start(task, 3))


@pytest.mark.parametrize(("name", "key"), [("number_sorting", "original_numbers"), ("spell_backward", "word_len"), ("gcd", "numbers")])
def test_difficulty_counts_or_quotes(name: str, key: str) -> None:
    assert all(1 <= int(p.difficulty) <= 20 for p in load_problems(gym_task(name, difficulty_key=key))[0])


def test_unknown_difficulty_key_lists_the_keys() -> None:
    with pytest.raises(ConfigError, match=r"task.difficulty_key='terms'.*num_terms"):
        load_problems(gym_task("chain_sum", difficulty_key="terms"))


def test_question_that_does_not_match_is_shown() -> None:
    with pytest.raises(DataError, match=r"task.question_pattern='Sort: .*State the final answer"):
        load_problems(gym_task("chain_sum", question_pattern="Sort: (.*)"))


def test_task_without_reference_answers_has_no_cold_start() -> None:
    assert load_problems(gym_task("rush_hour", train_size=3, eval_size=2))[0][0].answer == ""
    with pytest.raises(DataError, match=r"policy.cold_start.steps=0"):
        load_cold_start(gym_task("propositional_logic", train_size=3, eval_size=2), 2)


def test_generator_that_always_raises_is_named() -> None:
    with pytest.raises(DataError, match=r"task.name=number_sorting: reasoning-gym made no entry, the last try ended in OverflowError"):
        load_problems(gym_task("number_sorting", config={"min_decimals": 10**30, "max_decimals": 10**30}))


SCRIPT = """
import hashlib
from npo_pipeline.configuration.compose import load_root
from npo_pipeline.tasks.sources import load_problems
for name in ("isomorphic_strings", "polynomial_multiplication", "ransom_note", "word_ladder", "list_functions"):
    task = load_root(overrides=["task=reasoning_gym", f"task.name={name}", "task.train_size=40", "task.eval_size=10"]).task
    print(name, hashlib.sha256(repr(load_problems(task)).encode()).hexdigest())
"""


def test_every_run_makes_the_same_problems_whatever_its_string_hash() -> None:
    def run(seed: str) -> str:
        environment = os.environ | {"PYTHONHASHSEED": seed}
        return subprocess.run([sys.executable, "-c", SCRIPT], env=environment, check=True, capture_output=True, text=True).stdout

    assert run("1") == run("2") != ""


BAD = [
    ({"name": "chain_sums"}, r"task.name=chain_sums: no such reasoning-gym dataset; did you mean chain_sum\?"),
    ({"config": {"min_trems": 2}}, r"task.config.min_trems: no such parameter; did you mean min_terms\?; there are min_terms, max_terms"),
    ({"cold_start_config": {"max_digit": 2}}, r"task.cold_start_config.max_digit: no such parameter; did you mean max_digits\?"),
    ({"config": {"min_terms": 9, "max_terms": 3}}, r"task.config=.*max_terms must be >= min_terms"),
    ({"config": {"min_terms": 4}, "cold_start_config": {"max_terms": 3}}, r"task.cold_start_config=.*max_terms must be >= min_terms"),
    ({"config": {"min_terms": "two"}}, r"task.config=.*refused by the dataset"),
    ({"config": {"size": 7}}, r"task.config.size: set by the pipeline; remove it and set task.train_size"),
    ({"question_pattern": "("}, r"task.question_pattern='\(': not a regular expression"),
    ({"question_pattern": "problem"}, r"task.question_pattern='problem': has no group"),
]


@pytest.mark.parametrize(("changes", "message"), BAD)
def test_check_source_names_the_key(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        check_source(dataclasses.replace(gym_task("chain_sum"), **changes))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("experiment", ["default", "chain_sum", "mini_sudoku", "smollm2_gsm8k"])
def test_check_source_accepts_what_is_shipped(experiment: str) -> None:
    check_source(load_root(experiment).task)
