"""A sweep: its grid, what points share, and its table by hand."""

import csv
import io
from pathlib import Path

import pytest

from npo_pipeline.analysis.sweep import Point, conclusion, csv_table, final_reward, markdown_table
from npo_pipeline.cli.sweep import points, share_start
from npo_pipeline.configuration.compose import stage_configs, to_yaml
from npo_pipeline.errors import ConfigError


def test_a_grid_is_the_product_of_its_choices() -> None:
    found = points("sparse", ["grpo.learning_rate=5e-5,1e-4", "seeds=[11,12]", "grpo.lr_schedule=constant,linear", "probe.steps=30"])
    assert [place.root.name for place in found] == [
        f"sparse-learning_rate-{rate}-lr_schedule-{kind}" for rate in ("5e-05", "0.0001") for kind in ("constant", "linear")
    ]
    assert [place.root.grpo.learning_rate for place in found] == [5e-5, 5e-5, 1e-4, 1e-4]
    assert all((place.root.seeds, place.root.probe.steps) == ([11, 12], 30) for place in found)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["grpo.learning_rat=1,2"], "grpo.learning_rat: no such key"),
        (["grpo.group_size=8,1"], "grpo.group_size=1: expected at least 2"),
        (["probe.steps=3"], "found no grid"),
        (["seeds=[1],[2]"], "seeds is no part of a grid"),
        (["grpo.epochs=interval(1,2)"], r"grpo.epochs=interval\(1,2\): expected values with commas between them"),
        (["report.title='a b','a: b'"], "report.title='a b' and report.title='a: b' would both be results/default-title-a_b"),
        (["grpo.learning_rate=1e-4,1e-4"], "would both be results/default-learning_rate-0.0001"),
    ],
)
def test_a_grid_that_cannot_work_is_one_line(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        points("default", words)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("task.revision=1234e56,true,1e3", ["1234e56", "true", "1e3"]),
        ("task.revision=a b,c", ["a b", "c"]),
        ("task.revision='a, b',\"c: d\"", ["a, b", "c: d"]),
        ("task.revision=choice(main,dev)", ["main", "dev"]),
    ],
)
def test_a_text_is_as_it_is_written(word: str, expected: list[str]) -> None:
    assert [place.root.task.revision for place in points("default", [word])] == expected


def test_a_grid_may_give_what_an_experiment_cannot_do_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = points("default", ["policy.source=gguf", "policy.path=a.gguf,b.gguf"])
    assert [place.root.policy.path for place in found] == ["a.gguf", "b.gguf"]


def test_points_share_their_start_where_it_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first, second = points("default", ["grpo.learning_rate=1e-4,2e-4"])
    (first.folder / "prepare").mkdir(parents=True)
    (first.folder / "prepare/manifest.json").write_text("{}")
    (first.folder / "config").mkdir()
    (first.folder / "config/prepare.yaml").write_text("another task's", encoding="utf-8")
    share_start(second, [first, second])
    assert not second.folder.exists()
    (first.folder / "config/prepare.yaml").write_text(to_yaml(stage_configs(first.root)["prepare"]), encoding="utf-8")
    share_start(second, [first, second])
    assert (second.folder / "prepare/manifest.json").read_text() == "{}"
    (second.folder / "prepare/manifest.json").write_text("own")
    share_start(second, [first, second])
    assert (second.folder / "prepare/manifest.json").read_text() == "own", "what is there stays"


def test_every_initial_policy_of_a_point_is_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first, second = points("default", ["grpo.learning_rate=1e-4,2e-4", "policy.cold_starts=3", "seeds=[2,4]"])
    for name in ("prepare-1", "prepare-2"):
        (first.folder / name).mkdir(parents=True)
        (first.folder / name / "manifest.json").write_text(name)
    (first.folder / "config").mkdir()
    (first.folder / "config/prepare.yaml").write_text(to_yaml(stage_configs(first.root)["prepare"]), encoding="utf-8")
    share_start(second, [first, second])
    assert {file.parent.name: file.read_text() for file in second.folder.glob("prepare*/manifest.json")} == {
        "prepare-1": "prepare-1",
        "prepare-2": "prepare-2",
    }


SLOW = Point(("grpo.learning_rate=5e-5",), [0.2, 0.3], [0.1, 0.1], [100, 300], [5.0, None])
FAST = Point(("grpo.learning_rate=1e-4",), [0.4, 0.5], [0.3, 0.5], [100, 100], [1.0, 2.0])


def test_the_table_by_hand() -> None:
    best, worst = csv.DictReader(io.StringIO(csv_table([SLOW, FAST])))
    assert (best["grpo.learning_rate"], best["held-out"], best["final training reward"], best["seconds"]) == ("1e-4", "0.45", "0.4", "1.5")
    assert (worst["sampled tokens"], worst["seconds"], worst["seeds"]) == ("200.0", "", "2")
    reach = 12.7062047 * 0.05  # Student's t of one degree of freedom, times the standard error of .4 and .5
    assert (float(best["held-out low"]), float(best["held-out high"])) == pytest.approx((0.45 - reach, 0.45 + reach), abs=1e-5)
    assert "| **grpo.learning_rate=1e-4** | 0.450 [-0.185, 1.085] | 0.400 | 100 | 2 |" in markdown_table([SLOW, FAST])


def test_what_it_rests_on_is_said() -> None:
    assert conclusion([SLOW, FAST]) == (
        "Best: grpo.learning_rate=1e-4, of 2 points, mean of 2 seeds. It is told from the next, grpo.learning_rate=5e-5: "
        "+0.200 [+0.200, +0.200], 95% t-interval over seeds."
    )
    single = [Point(point.values, point.accuracy_S[:1], [0.0], [1], [1.0]) for point in (SLOW, FAST)]
    assert conclusion(single).endswith("mean of 1 seed. A single seed cannot tell points apart.")


def test_final_reward() -> None:
    assert final_reward([0, 0, 0, 1, 3]) == 3
    assert final_reward([0, 1]) == 1
