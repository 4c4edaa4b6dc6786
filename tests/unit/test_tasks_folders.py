"""Datasets as folders, in the layouts that `datasets`, the hub and verl give them, with real GSM8K rows; and what a hub answers."""

import dataclasses
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub.constants
import pytest

from npo_pipeline.configuration.compose import PROJECT, load_root
from npo_pipeline.configuration.settings import TaskConfig
from npo_pipeline.errors import DataError
from npo_pipeline.storage.hub import hub_commit
from npo_pipeline.tasks.rows.files import read_rows, resolve_path
from npo_pipeline.tasks.sources import describe_sources, load_problems

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def rows(split: str, count: int) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (PROJECT / f"data/gsm8k/{split}.jsonl").read_text().splitlines()[:count]]


SPLITS = {"train": rows("train", 60), "test": rows("test", 20)}


def task(folder: Path | str, **changes: Any) -> TaskConfig:
    whole = load_root(overrides=["task=gsm8k"]).task
    return dataclasses.replace(whole, **{"train": str(folder), "eval": str(folder), "train_size": None, "eval_size": None} | changes)


def parquet(path: Path, content: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    datasets.Dataset.from_list(content).to_parquet(path)


def flat(folder: Path) -> None:
    for split, content in SPLITS.items():
        parquet(folder / f"{split}.parquet", content)


def sharded(folder: Path) -> None:
    for split, content in SPLITS.items():
        for i in range(2):
            half = len(content) // 2
            parquet(folder / f"data/{split}-{i:05d}-of-00002.parquet", content[i * half : (i + 1) * half])


def folder_per_split(folder: Path) -> None:
    for split, content in SPLITS.items():
        (folder / split).mkdir(parents=True)
        for i, part in enumerate((content[:7], content[7:])):
            (folder / split / f"part-{i}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))


def saved(folder: Path) -> None:
    datasets.DatasetDict({split: datasets.Dataset.from_list(content) for split, content in SPLITS.items()}).save_to_disk(folder)


@pytest.mark.parametrize("make", [flat, sharded, folder_per_split, saved])
def test_every_layout_holds_the_same_problems(tmp_path: Path, make: Any) -> None:
    make(tmp_path / "gsm8k")
    train, evaluation = load_problems(task(tmp_path / "gsm8k"))
    assert [p.question for p in train] == [row["question"] for row in SPLITS["train"]]
    assert [p.answer for p in train[:3]] == ["72", "10", "5"]
    assert [p.question for p in evaluation] == [row["question"] for row in SPLITS["test"]]
    with pytest.raises(DataError, match=r"task.eval=.*'?validation'?.*task.eval_split"):
        load_problems(task(tmp_path / "gsm8k", eval_split="validation"))


def test_a_repository_with_configurations(tmp_path: Path) -> None:
    """As openai/gsm8k has them: README.md names the files of `main` and `socratic`."""
    parquet(tmp_path / "repo/main/train-00000-of-00001.parquet", SPLITS["train"])
    parquet(tmp_path / "repo/socratic/train-00000-of-00001.parquet", SPLITS["test"])
    names = [{"config_name": name, "data_files": [{"split": "train", "path": f"{name}/train-*"}]} for name in ("main", "socratic")]
    (tmp_path / "repo/README.md").write_text(f"---\nconfigs: {json.dumps(names)}\n---\n")
    name = f"{tmp_path}/repo:socratic"
    assert resolve_path(name) == tmp_path / "repo"
    assert [row["question"] for _, row in read_rows(name, "train", None, "task.train")] == [row["question"] for row in SPLITS["test"]]
    with pytest.raises(DataError, match=r"socratic"):
        read_rows(f"{tmp_path}/repo:other", "train", None, "task.train")


def test_images_of_a_folder_stay_as_they_are_stored(tmp_path: Path) -> None:
    """Parquet with an Image column, as hub datasets have them: bytes, not pixels decoded and encoded again."""
    import io

    import PIL.Image

    picture = io.BytesIO()
    PIL.Image.new("RGB", (40, 30), (200, 10, 10)).save(picture, "PNG")
    content = [
        {"question": f"<image>Which colour, {i}?", "answer": "red", "image": {"bytes": picture.getvalue(), "path": None}} for i in range(4)
    ]
    table = datasets.Dataset.from_list(content).cast_column("image", datasets.Image())
    (tmp_path / "vl").mkdir()
    table.to_parquet(tmp_path / "vl/train-00000-of-00001.parquet")
    train, _ = load_problems(task(tmp_path / "vl", eval=None, eval_size=1, image_column="image"))
    assert [problem.images[0].read() for problem in train] == [picture.getvalue()] * 3


def test_nested_columns_as_verl_files_have_them(tmp_path: Path) -> None:
    nested = [
        {
            "prompt": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": row["question"]}],
            "reward_model": {"style": "rule", "ground_truth": row["answer"].rpartition("#### ")[2]},
            "extra_info": {"index": i, "level": "easy"},
        }
        for i, row in enumerate(SPLITS["train"])
    ]
    parquet(tmp_path / "verl.parquet", nested)
    columns = {"question_column": "prompt.-1.content", "answer_column": "reward_model.ground_truth", "difficulty_key": "extra_info.level"}
    train, evaluation = load_problems(task(tmp_path / "verl.parquet", eval=None, eval_size=10, **columns))
    answers = {row["question"]: row["answer"].rpartition("#### ")[2] for row in SPLITS["train"]}
    assert {p.question: p.answer for p in train + evaluation} == answers
    assert {p.difficulty for p in train} == {"easy"}
    wrong = columns | {"answer_column": "reward_model.truth"}
    with pytest.raises(DataError, match=r"no column 'reward_model.truth', it has 'style', 'ground_truth'; set task.answer_column"):
        load_problems(task(tmp_path / "verl.parquet", eval=None, eval_size=10, **wrong))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A server that knows one dataset, as far as huggingface_hub asks for its commit; the paths it was asked for."""
    asked: list[str] = []

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            known = "/api/datasets/openai/gsm8k" in self.path
            self.send_response(200 if known else 404)
            self.end_headers()
            self.wfile.write(json.dumps({"id": "openai/gsm8k", "sha": COMMIT} if known else {"error": "not found"}).encode())

        def log_message(self, *_: Any) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    hub_commit.cache_clear()
    yield asked
    hub_commit.cache_clear()
    server.shutdown()


def test_a_revision_is_resolved_once_and_recorded(hub: list[str]) -> None:
    facts = describe_sources(task("openai/gsm8k:main", revision="v1"))
    expected = {"name": "openai/gsm8k:main", "revision": "v1", "commit": COMMIT}
    assert facts == {"train": expected | {"split": "train"}, "eval": expected | {"split": "test"}}
    assert [path for path in hub if "gsm8k" in path] == ["/api/datasets/openai/gsm8k/revision/v1"]


def test_a_hub_that_does_not_know_or_does_not_answer(hub: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert hub_commit("nobody/nothing", None, "dataset") is None
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert hub_commit("openai/gsm8k", "main", "model") is None
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    assert hub_commit("openai/gsm8k", "v2", "dataset") is None


def test_local_sources_have_no_commit(tmp_path: Path) -> None:
    flat(tmp_path / "gsm8k")
    assert describe_sources(task(tmp_path / "gsm8k", eval=None)) == {"train": {"name": str(tmp_path / "gsm8k"), "split": "train"}}
    assert describe_sources(load_root().task) == {}


def answers(folder: Path, **changes: Any) -> list[str]:
    problems = [problem for split in load_problems(task(folder, eval=None, eval_size=1, **changes)) for problem in split]
    return [problem.answer for problem in sorted(problems, key=lambda problem: problem.question)]


TEXTS = ["007", "1e3", "1.50", "NA", "None", "12345678901234567890123", "9007199254740993", "true", "2026-01-31"]


@pytest.mark.parametrize(("name", "mark"), [("train.csv", ","), ("train.tsv", "\t")])
def test_a_csv_says_what_is_written_in_it(tmp_path: Path, name: str, mark: str) -> None:
    lines = [f"q{i}{mark}{text}\n" for i, text in enumerate(TEXTS)]
    (tmp_path / name).write_text(f"question{mark}answer\n" + "".join(lines))
    assert answers(tmp_path) == TEXTS
    (tmp_path / name).write_text(f"question{mark}answer\nq0{mark}1\nq1{mark}\n")
    with pytest.raises(DataError, match=rf"{name}, row 2: column 'answer' is empty"):
        answers(tmp_path)


def test_an_empty_cell_of_a_csv_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("question,answer,image\nq0,1,\nq1,2,\n")
    assert answers(tmp_path, image_column="image") == ["1", "2"]


def test_a_file_of_a_folder_says_what_it_says_alone(tmp_path: Path) -> None:
    values = ["2026-01-31", 9007199254740993, 1.5, 10**30, "2026-01-31T10:00:00Z"]
    lines = "".join(json.dumps({"question": f"q{i}", "answer": value}) + "\n" for i, value in enumerate(values))
    for name in ("train.jsonl", "train.json"):
        (tmp_path / name).write_text(lines)
        found = answers(tmp_path)
        assert found == answers(tmp_path / name) == ["2026-01-31", "9007199254740993", "1.5", str(10**30), "2026-01-31T10:00:00Z"]
        (tmp_path / name).unlink()


def test_a_wrong_line_of_a_folder_s_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text('{"question": "q0", "answer": "1"}\n{"question": "q1", "answer": "1", "answer": "2"}\n')
    with pytest.raises(DataError, match=rf"^{tmp_path}/train.jsonl, line 2: the key 'answer' stands twice"):
        answers(tmp_path)


def test_a_list_of_rows_is_still_read(tmp_path: Path) -> None:
    (tmp_path / "train.json").write_text(json.dumps([{"question": f"q{i}", "answer": str(i)} for i in range(3)], indent=1))
    assert answers(tmp_path) == ["0", "1", "2"]


def test_the_parts_of_a_split_make_one_table(tmp_path: Path) -> None:
    """What one line has and another has not is null there."""
    rows = [{"question": "q0", "answer": "1"}, {"question": "q1", "answer": "2", "image": None, "level": "hard"}]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert answers(tmp_path, image_column="image", difficulty_key="level") == ["1", "2"]


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_the_metadata_of_a_folder_of_images_stays_as_written(tmp_path: Path, kind: str) -> None:
    import PIL.Image

    (tmp_path / "train").mkdir()
    for i in range(2):
        PIL.Image.new("RGB", (40, 30), (200 * i, 10, 10)).save(tmp_path / f"train/{i}.png")
    rows = [{"file_name": f"{i}.png", "question": f"q{i}", "answer": text} for i, text in enumerate(("007", "2026-01-31"))]
    lines = ["file_name,question,answer", *[",".join(row.values()) for row in rows]] if kind == "csv" else map(json.dumps, rows)
    (tmp_path / f"train/metadata.{kind}").write_text("\n".join(lines))
    assert answers(tmp_path, image_column="image") == ["007", "2026-01-31"]
    train, held_out = load_problems(task(tmp_path, eval=None, eval_size=1, image_column="image"))
    for problem in (*train, *held_out):
        assert problem.images[0].read() == (tmp_path / f"train/{problem.question[1:]}.png").read_bytes()
    (tmp_path / "train/0.png").rename(tmp_path / "train/2.png")
    with pytest.raises(DataError, match=rf"metadata.{kind}, .* 1: no image .*0.png"):
        answers(tmp_path, image_column="image")


def test_a_folder_of_images_by_class_has_names(tmp_path: Path) -> None:
    import PIL.Image

    for name, colour in (("cat", "red"), ("dog", "blue")):
        (tmp_path / "train" / name).mkdir(parents=True)
        PIL.Image.new("RGB", (40, 30), colour).save(tmp_path / f"train/{name}/0.png")
    assert answers(tmp_path, question_column="label", answer_column="label", difficulty_key="label", image_column="image") == ["cat", "dog"]


@pytest.mark.parametrize("kind", ["string", "int64"])
def test_types_that_a_readme_declares_leave_a_csv_as_written(tmp_path: Path, kind: str) -> None:
    features = [{"name": "question", "dtype": "string"}, {"name": "answer", "dtype": kind}]
    names = [{"config_name": "default", "sep": ";", "data_files": [{"split": "train", "path": "rows.csv"}]}]
    (tmp_path / "README.md").write_text(f"---\ndataset_info: {json.dumps({'features': features})}\nconfigs: {json.dumps(names)}\n---\n")
    (tmp_path / "rows.csv").write_text("question;answer\nq0;007\nq1;2\n")
    assert answers(tmp_path) == ["007", "2"]


def test_rows_of_more_cells_than_the_header_are_refused(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("question,answer\nq0,1,z\nq1,2,x\n")
    with pytest.raises(DataError, match=r"train.csv: its rows have more cells than its first line names"):
        answers(tmp_path)
