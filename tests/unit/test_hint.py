"""The comparator `hint`: who is given how much of which solution, what takes the slot, and whose prompt it is trained behind."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from npo_pipeline.configuration.compose import load_root
from npo_pipeline.errors import DataError
from npo_pipeline.grpo.mixing import form_group
from npo_pipeline.guidance.methods.hint import HintConfig, HintMixer, Method, beginning, solutions_of
from npo_pipeline.records import Draw, Group, Problem, Trajectory
from npo_pipeline.tasks.rows.dataset import load_problems, load_solutions

SETTINGS = HintConfig([0.25, 0.5, 1.0], 2, "{question} Hint: {hint}", "hinted")
SOLUTION = "one two three four"


def problem(name: str) -> Problem:
    return Problem(name, "train", name, name, "all", name, (1,))


def trajectory(asked: Problem, index: int, right: bool) -> Trajectory:
    return Trajectory(asked.problem_id, index, asked.prompt_token_ids, (7, 8), (-0.5, -0.1), float(right), right, "stop", "")


def group(name: str, right: int, of: int = 4) -> Group:
    return form_group(problem(name), [trajectory(problem(name), i, i < right) for i in range(of)])


def render(asked: Problem, question: str) -> Problem:
    return replace(asked, prompt=question, prompt_token_ids=(1, *range(len(question.split()))))


class LivePolicy:
    """Solves "easy" once it is shown "three", "hard" never; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    def __call__(self, step: int, draws: Sequence[Draw]) -> list[Trajectory]:
        self.asked += [(asked.prompt, i) for asked, i in draws]
        return [trajectory(asked, i, asked.problem_id == "easy" and "two" in asked.prompt) for asked, i in draws]


def mixer(live: LivePolicy, settings: HintConfig = SETTINGS) -> HintMixer:
    method = Method(kind="hint", gate=0.0, correction=False, hint=settings)
    return HintMixer(method, {"easy": SOLUTION, "hard": SOLUTION}, render, live)


def test_hints_grow_for_what_is_still_unsolved_and_a_success_takes_the_slot() -> None:
    live = LivePolicy()
    groups = [group("easy", 0), group("hard", 0), group("half", 0), group("solved", 1)]
    mixed = mixer(live).mix(5, groups)
    assert live.asked == [
        *[(f"{name} Hint: one", i) for name in ("easy", "hard") for i in (0, 1)],
        *[(f"{name} Hint: one two", i) for name in ("easy", "hard") for i in (2, 3)],
        *[("hard Hint: one two three four", i) for i in (4, 5)],
    ]
    last = mixed.groups[0].slots[-1]
    assert (last.source, last.guide_step, last.ratio, last.trajectory.sample_index) == ("guide", 5, "policy", 2)
    assert last.trajectory.prompt_token_ids == (1, 0, 1, 2, 3), "behind the prompt that it was sampled from"
    assert list(mixed.groups[1:]) == groups[1:]
    assert mixed.groups[0].accuracy == 0.0
    assert mixed.sampled_tokens == 10 * 2
    assert mixed.metrics == {"hint/prompts": 2, "hint/solved": 1, "hint/share": 0.5}


def test_the_loss_may_be_behind_the_plain_prompt() -> None:
    mixed = mixer(LivePolicy(), replace(SETTINGS, loss_on="question")).mix(5, [group("easy", 0)])
    assert mixed.groups[0].slots[-1].trajectory.prompt_token_ids == (1,)


def test_where_nothing_is_all_wrong_nothing_is_sampled() -> None:
    live = LivePolicy()
    mixed = mixer(live).mix(5, [group("easy", 1)])
    assert (live.asked, mixed.sampled_tokens, mixed.metrics["hint/prompts"]) == ([], 0, 0)


@pytest.mark.parametrize(("share", "found"), [(0.5, "2 + 2"), (0.01, "2"), (0.61, "2 + 2\nis"), (1.0, "2 + 2\nis four")])
def test_the_beginning_of_a_solution_is_of_whole_words(share: float, found: str) -> None:
    assert beginning("2 + 2\nis four", share) == found


@given(st.text(min_size=1).filter(lambda text: bool(text.split())), st.floats(0.01, 1.0))
def test_a_longer_share_begins_with_a_shorter_one(solution: str, share: float) -> None:
    assert beginning(solution, min(1.0, share * 1.5)).startswith(beginning(solution, share))
    assert solution.startswith(beginning(solution, share))


def test_the_shipped_rows_have_solutions_that_do_not_hold_the_answers_line() -> None:
    task = load_root(overrides="task=gsm8k task.train_size=null").task
    train, _ = load_problems(task)
    solutions = load_solutions(task)
    assert [solutions[raw.problem_id][0] for raw in train] == [raw.question for raw in train]
    assert all(solution and "####" not in solution for _, solution in solutions.values())


def test_rows_without_solutions_or_with_other_questions_are_one_line(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(f'{{"question": "q{i}", "answer": "{"" if i else "because #### "}{i}"}}\n' for i in range(4)))
    task = load_root(overrides=f"task=dataset task.train={rows} task.train_size=null task.eval_size=1 grpo.prompts_per_step=2").task
    problems = [Problem(**vars(raw), prompt=raw.question, prompt_token_ids=(1,)) for raw in load_problems(task)[0]]
    solutions = load_solutions(task)
    kept = [problem for problem in problems if problem.question != "q0"]
    with pytest.raises(DataError, match=r"no row of task\.answer_column=answer has a worked solution before its ####"):
        solutions_of(kept, solutions, task)
    with pytest.raises(DataError, match=r"asks 'q[0-9]', as prepared it asked 'other': the rows changed since"):
        solutions_of([replace(kept[0], question="other")], solutions, task)
    assert set(solutions_of(problems, {**solutions, problems[0].problem_id: (problems[0].question, "because")}, task)) >= {
        problems[0].problem_id
    }
