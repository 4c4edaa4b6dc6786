"""GuidedGRPOTrainer against the guided run's own parts, on the very samples that TRL drew; and twenty steps of it."""

import copy
import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from guide_results import guide_trajectory, problems_for, with_images, write_guides
from tiny import caught_gradients, grpo, tiny_policy
from trl import GRPOTrainer
from trl_runs import EARLY, MOST, SIZE, Judge, of_guides, responses, sampled_groups, trainer_of
from vision import drawn

from npo_pipeline.configuration.settings import SamplingConfig
from npo_pipeline.errors import ConfigError, DataError
from npo_pipeline.grpo.advantages import group_advantages
from npo_pipeline.grpo.mixing import mix
from npo_pipeline.grpo.update import Updater
from npo_pipeline.guidance.schedule import Schedule, Window, write_schedule
from npo_pipeline.guidance.shards.load import load_guides
from npo_pipeline.integrations.export import export_guides
from npo_pipeline.integrations.trl import GuidedGRPOTrainer
from npo_pipeline.policy.logprobs import score
from npo_pipeline.policy.policy import Policy
from npo_pipeline.records import Problem
from npo_pipeline.storage.layout import Layout


@pytest.fixture(scope="module")
def policy() -> Policy:
    return tiny_policy()


@pytest.fixture(scope="module")
def problems(policy: Policy) -> list[Problem]:
    return problems_for(policy)


@pytest.fixture(scope="module")
def layout(policy: Policy, problems: list[Problem], tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """Guide step 4 solves all but the last problem, step 8 only the first, and that again at a second try, longer than allowed at first."""
    first = [guide_trajectory(policy, problems[0], 0, True, " 3" * 9), guide_trajectory(policy, problems[0], 1, True)]
    made = {4: [guide_trajectory(policy, p, 0, p is not problems[-1]) for p in problems], 8: first}
    return write_guides(tmp_path_factory.mktemp("results") / "mine", problems, made)


@pytest.fixture(scope="module")
def guides(layout: Layout) -> Path:
    export_guides(layout.guide, layout.root / "exported")
    return layout.root / "exported"


@pytest.mark.parametrize("correction", [False, True])
@pytest.mark.parametrize("aggregation", ["response", "token", "constant"])
def test_groups_advantages_and_loss_equal_ours(
    aggregation: str, correction: bool, policy: Policy, problems: list[Problem], layout: Layout, guides: Path, tmp_path: Path, monkeypatch
) -> None:
    reward = of_guides(layout)
    loss_type = {"response": "grpo", "token": "dapo", "constant": "dr_grpo"}[aggregation]
    window = Window(0, 10, 4, 0.5, correction)
    trainer = trainer_of(policy, problems, guides, tmp_path, reward, [window], loss_type=loss_type)
    batch, groups = sampled_groups(trainer, problems, reward, monkeypatch)

    supply, _ = load_guides(layout, {4}, MOST)
    mixed = [mix(g, supply.get((4, g.problem.problem_id)), window.gate, "recorded" if correction else "policy") for g in groups]
    slots = [slot for group in mixed for slot in group.slots]
    injected = sum(slot.source == "guide" for slot in slots)
    assert 0 < injected < len(groups)
    assert {0.5} < {group.accuracy for group in groups if group.accuracy <= 0.5}  # some are at the gate, some below
    assert responses(batch) == [slot.trajectory.response_token_ids for slot in slots]

    rewards = torch.tensor([[slot.trajectory.reward for slot in group.slots] for group in mixed])
    advantages = group_advantages(rewards, "std", 1e-4).flatten()
    torch.testing.assert_close(batch["advantages"], advantages)

    model = trainer.model
    theirs = trainer.compute_loss(model, batch)
    theirs.backward()
    settings = grpo(aggregation=aggregation, clip_low=0.2, clip_high=0.28)
    ours, gradient = gradients_of(settings, policy, slots, advantages.tolist())
    assert math.isclose(theirs.item(), ours, rel_tol=1e-5, abs_tol=1e-6)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, gradient[name], atol=1e-6, rtol=1e-4)
    own = [group.accuracy for group in groups]
    metrics = trainer._metrics["train"]
    assert metrics["guide/injected"] == [injected]
    assert metrics["guide/refused"] == [0.0]
    assert math.isclose(metrics["accuracy"][0], sum(own) / len(own), rel_tol=1e-6)
    assert math.isclose(metrics["reward/mean"][0], sum(own) / len(own), rel_tol=1e-6)


def gradients_of(settings, policy: Policy, slots, advantages: list[float]) -> tuple[float, dict[str, torch.Tensor]]:
    fresh = Policy(copy.deepcopy(policy.model), policy.tokenizer, policy.stop_ids, policy.pad_id)
    return caught_gradients(Updater(fresh, settings, SamplingConfig(1.0, 1.0, 0, MOST)), slots, advantages)


def test_twenty_steps_learn_what_the_guides_say(
    policy: Policy, problems: list[Problem], layout: Layout, guides: Path, tmp_path: Path
) -> None:
    """In the first ten steps guides are in, afterwards none; their responses become likelier than they were."""
    supply, _ = load_guides(layout, {4}, MOST)
    answers = {guide.trajectory.response_token_ids for guide in supply.values()}

    def never_by_luck(completion_ids: Sequence[Sequence[int]], **_: Any) -> list[float]:
        return [float(tuple(ids) in answers) for ids in completion_ids]

    trainer = trainer_of(policy, problems, guides, tmp_path, never_by_luck)
    before = {name: parameter.clone() for name, parameter in trainer.model.named_parameters()}
    trainer.train()
    logged = [line for line in trainer.state.log_history if "guide/injected" in line]
    assert len(logged) == 20
    assert [line["guide/injected"] for line in logged[10:]] == [0.0] * 10
    assert sum(line["guide/injected"] for line in logged[:10]) > 10
    assert all(math.isfinite(line["loss"]) for line in logged)
    assert logged[0]["reward"] > logged[0]["reward/mean"]  # TRL's counts the guides
    assert any(not torch.equal(before[name], parameter) for name, parameter in trainer.model.named_parameters())
    rows = [(g.trajectory.prompt_token_ids, g.trajectory.response_token_ids) for g in supply.values()]
    first, last = (sum(map(sum, score(model, rows, policy.pad_id, 1.0, 10_000))) for model in (policy.model, trainer.model))
    assert last > first + 1.0


def test_a_guide_that_this_trainer_finds_wrong_is_refused(
    policy: Policy, problems: list[Problem], guides: Path, tmp_path: Path, monkeypatch
) -> None:
    """The group keeps its own sample and its own reward."""

    def none_right(completion_ids: Sequence[Sequence[int]], **_: Any) -> list[float]:
        return [0.25] * len(completion_ids)

    trainer = trainer_of(policy, problems, guides, tmp_path, none_right)
    batch, groups = sampled_groups(trainer, problems, none_right, monkeypatch)
    assert responses(batch) == [slot.trajectory.response_token_ids for group in groups for slot in group.slots]
    assert not batch["advantages"].any()
    assert trainer._metrics["train"]["guide/injected"] == [0.0]
    assert trainer._metrics["train"]["guide/refused"] == [5.0]


def test_conversations_are_guided_too(policy: Policy, problems: list[Problem], guides: Path, layout: Layout, tmp_path: Path) -> None:
    """The reward function sees a guide as it sees every completion, and the columns of its row."""
    seen: list[Any] = []

    def reward(completions: Any, completion_ids: Any, answer: list[str], **_: Any) -> list[float]:
        seen.extend(zip(completions, completion_ids, answer, strict=True))
        return [float(completion[0]["content"] == right) for completion, right in zip(completions, answer, strict=True)]

    tokenizer = copy.deepcopy(policy.tokenizer)
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    rows = [{"prompt": [{"role": "user", "content": p.prompt}], "answer": " 3"} for p in problems]
    trainer = trainer_of(policy, problems, guides, tmp_path, reward)
    trainer.processing_class = trainer._tokenizer = tokenizer
    trainer.model.train()
    batch = trainer._generate_and_score_completions([row for row in rows for _ in range(SIZE)])
    supply, _ = load_guides(layout, {4}, MOST)
    assert trainer._metrics["train"]["guide/injected"] == [5.0]
    assert responses(batch)[SIZE - 1] == supply[4, "p0"].trajectory.response_token_ids
    assert ([{"role": "assistant", "content": " 3"}], [*supply[4, "p0"].trajectory.response_token_ids], " 3") in seen


def test_an_engines_log_probs_are_of_its_own_samples_alone(
    policy: Policy, problems: list[Problem], guides: Path, layout: Layout, tmp_path: Path, monkeypatch
) -> None:
    """vLLM says what it thought of each token that it sampled. Of a guide it says nothing, and TRL corrects nothing where it has none."""
    plain = GRPOTrainer._generate

    def with_logprobs(self: GRPOTrainer, prompts: list[Any]) -> Any:
        found = list(plain(self, prompts))
        found[4] = [[-1.0] * len(ids) for ids in found[1]]
        return tuple(found)

    monkeypatch.setattr(GRPOTrainer, "_generate", with_logprobs)
    trainer = trainer_of(policy, problems, guides, tmp_path, of_guides(layout))
    trainer.model.train()
    batch = trainer._generate_and_score_completions([{"prompt": problem.prompt} for problem in problems for _ in range(SIZE)])
    assert trainer._injected
    for row, (said, mask) in enumerate(zip(batch["sampling_per_token_logps"], batch["completion_mask"].bool(), strict=True)):
        assert said[mask].isnan().all() if row in trainer._injected else (said[mask] == -1.0).all()


def test_evaluation_is_not_guided(policy: Policy, problems: list[Problem], guides: Path, layout: Layout, tmp_path: Path) -> None:
    trainer = trainer_of(policy, problems, guides, tmp_path, of_guides(layout))
    trainer.model.eval()
    assert trainer.window() is None
    trainer.model.train()
    assert trainer.window() == EARLY
    trainer.state.global_step = 10
    assert trainer.window() is None


def test_a_schedule_of_a_run_is_followed(policy: Policy, problems: list[Problem], guides: Path, layout: Layout, tmp_path: Path) -> None:
    """The first guide of step 8 is longer than a response may be, so that problem's next takes its place."""
    windows = [Window(0, 3, 4, 0.5, False, "early"), Window(5, 8, 8, 0.0, True)]
    write_schedule(tmp_path / "schedule.yaml", Schedule("npo", windows, [], 0))
    trainer = trainer_of(policy, problems, guides, tmp_path, Judge(), tmp_path / "schedule.yaml")
    assert trainer.windows == windows
    (guide,) = trainer.guides.by_prompt[8].values()
    supply, _ = load_guides(layout, {8}, MOST)
    assert guide.response_token_ids == supply[8, "p0"].trajectory.response_token_ids
    assert guide.logprobs == pytest.approx(supply[8, "p0"].trajectory.behaviour_logprobs)
    assert trainer.guides.left_out == 1


@pytest.mark.parametrize(
    ("windows", "line"),
    [
        ([], "schedule: holds no window"),
        ([Window(0, 10, 5, 0.5, False)], r"windows\[0\].guide_step: found 5, but .*exported has guides of the steps 4, 8"),
        ([EARLY, Window(9, 12, 4, 0.5, False)], r"windows \[0, 10\) and \[9, 12\) overlap"),
        ([Window(3, 3, 4, 0.5, False)], r"windows\[0\]: found steps \[3, 3\), expected 0 <= from_step < to_step"),
        ([Window(0, 3, 4, 1.0, False)], r"windows\[0\].gate: found 1.0, expected a number in \[0, 1\)"),
    ],
)
def test_a_schedule_that_cannot_be_followed(windows, line: str, policy, problems, guides: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=line):
        trainer_of(policy, problems, guides, tmp_path, Judge(), windows)


def test_guides_that_cannot_be_used(policy: Policy, problems: list[Problem], guides: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"guides='.*nothing': not readable \(.*\); expected a folder of npo export-guides"):
        trainer_of(policy, problems, tmp_path / "nothing", tmp_path, Judge())
    with pytest.raises(DataError, match=r"exported: 7 of 8 rows are verified, none of them of at most 1 tokens: nothing guides"):
        trainer_of(policy, problems, guides, tmp_path, Judge(), max_completion_length=1)
    datasets.Dataset.from_dict({"prompt": ["a"]}).to_parquet(tmp_path / "other/guides/data.parquet")
    with pytest.raises(DataError, match=r"other: no column 'guide_step', expected the columns that npo export-guides writes"):
        trainer_of(policy, problems, tmp_path / "other", tmp_path, Judge())
    elsewhere = [Problem("q", "train", "", "", "all", "9 + 9 =", tuple(policy.tokenizer("9 + 9 =")["input_ids"]))]
    with pytest.raises(ConfigError, match=r"no guide answers a prompt of the dataset. A guide's: '0 \+ 3 ='; the dataset's first"):
        trainer_of(policy, elsewhere, guides, tmp_path, Judge())


def test_images_are_refused(policy: Policy, problems: list[Problem], guides: Path, tmp_path: Path) -> None:
    seen = Layout(tmp_path / "seen")
    seen.prepare.mkdir(parents=True)
    shown = [with_images(problem, [drawn(seen.prepare, 0)]) for problem in problems[:2]]
    write_guides(seen.root, shown, {4: [guide_trajectory(policy, problem, 0, True) for problem in shown]})
    export_guides(seen.guide, tmp_path / "with images")
    with pytest.raises(DataError, match="with images: these guides answer prompts with images, expected text alone"):
        trainer_of(policy, problems, tmp_path / "with images", tmp_path, Judge())
    rows = datasets.Dataset.from_dict({"prompt": ["a"], "image": [None]})
    with pytest.raises(ConfigError, match="train_dataset: has a column 'image'; guides in TRL are text alone"):
        GuidedGRPOTrainer(policy.model, Judge(), None, rows, guides=guides, schedule=[EARLY])
    with pytest.raises(ConfigError, match="rollout_func: a guide is one response"):
        GuidedGRPOTrainer(policy.model, Judge(), rollout_func=print, guides=guides, schedule=[EARLY])


def test_without_trl_one_line_says_what_to_install(tmp_path: Path) -> None:
    """In a process of its own, where a folder that shadows it stands for an environment without."""
    (tmp_path / "trl").mkdir()
    (tmp_path / "trl/__init__.py").write_text("raise ModuleNotFoundError(\"No module named 'trl'\")\n")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from npo_pipeline.errors import ConfigError\n"
        "try:\n    import npo_pipeline.integrations.trl\nexcept ConfigError as error:\n    print(error)\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said == (
        "npo_pipeline.integrations.trl: TRL is not installed, or does not import (No module named 'trl'); pip install 'trl>=1.16,<1.17'\n"
    )
