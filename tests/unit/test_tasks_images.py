"""Datasets with images: where an image may come from, what a prompt makes of it, and what is refused."""

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from vision import tiny_vl_policy

from npo_pipeline.configuration.compose import load_root
from npo_pipeline.configuration.settings import PromptConfig, TaskConfig
from npo_pipeline.errors import ConfigError, DataError
from npo_pipeline.preparation.problems import render
from npo_pipeline.tasks import easy_vqa
from npo_pipeline.tasks.prompts import render_prompt, split_at_images
from npo_pipeline.tasks.raw import RawProblem
from npo_pipeline.tasks.rows.dataset import load_cold_start, load_problems
from npo_pipeline.tasks.rows.local import dataset_files

CHAT = (
    "{% for m in messages %}<{{ m.role }}>{% if m.content is string %}{{ m.content }}{% else %}{% for part in m.content %}"
    "{{ '[V]' if part.type == 'image' else part.text }}{% endfor %}{% endif %}{% endfor %}<assistant>"
)


def png(number: int, size: tuple[int, int] = (40, 24), mode: str = "RGB") -> bytes:
    pixels = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    stream = io.BytesIO()
    PIL.Image.fromarray(pixels).convert(mode).save(stream, "PNG")
    return stream.getvalue()


def task(train: Path, **changes: Any) -> TaskConfig:
    values = {"train": train, "eval_size": 1, "image_column": "image"} | changes
    return load_root("default", ["task=dataset", *[f"task.{key}={value}" for key, value in values.items()]]).task


def jsonl(folder: Path, images: list[Any]) -> Path:
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps({"question": "what?", "answer": str(i), "image": image}) + "\n" for i, image in enumerate(images)))
    return file


def found(file: Path, **changes: Any) -> list[RawProblem]:
    train, held_out = load_problems(task(file, **changes))
    return sorted([*train, *held_out], key=lambda problem: int(problem.answer))


def test_the_workflow_watches_the_images_that_rows_name(tmp_path: Path):
    for name in ("a.png", "b.png", "c.png", "not_named.png"):
        (tmp_path / name).write_bytes(png(1))
    (tmp_path.parent / "outside.png").write_bytes(png(1))
    cells = ["a.png", ["b.png", "a.png"], None, {"bytes": None, "path": "c.png"}, "missing.png", "../outside.png", 7]
    rows, table = jsonl(tmp_path, cells), tmp_path / "rows.parquet"
    watched = [tmp_path / name for name in ("a.png", "b.png", "c.png")]
    assert dataset_files(str(rows), "image") == (rows, *watched)
    assert dataset_files(str(rows), None) == (rows,)
    assert dataset_files(str(rows), "no_such_column") == (rows,)
    pq.write_table(pa.table({"names": [["a.png"], ["b.png"]], "image": [b"a.png", b"b.png"]}), table)
    assert dataset_files(str(table), "names") == (table, *watched[:2])
    assert dataset_files(str(table), "image") == (table,)
    table.write_bytes(b"damaged")
    dataset_files.cache_clear()
    assert dataset_files(str(table), "names") == (table,)
    assert dataset_files("some/hub_name", "image") == dataset_files(None, "image") == ()
    assert set(dataset_files(str(tmp_path), "image")) == set(tmp_path.iterdir())


def test_files_beside_the_dataset_one_several_or_none(tmp_path: Path):
    (tmp_path / "pictures").mkdir()
    contents = [png(i, mode=mode) for i, mode in enumerate(("RGB", "RGBA", "L"))]
    for i, content in enumerate(contents):
        (tmp_path / f"pictures/{i}.png").write_bytes(content)
    names = [f"pictures/{i}.png" for i in range(3)]
    problems = found(jsonl(tmp_path, [names[0], names[1:], None, [], names[2]]))
    # The same question without an image is there once; about other images it is another one.
    assert [[image.read() for image in problem.images] for problem in problems] == [contents[:1], contents[1:], [], contents[2:]]
    assert all(demonstration.images for demonstration in load_cold_start(task(jsonl(tmp_path, names)), 5))


def test_bytes_in_parquet_and_the_image_column_of_datasets(tmp_path: Path):
    contents = [png(i) for i in range(3)]
    plain = pa.table({"question": ["what?"] * 3, "answer": ["0", "1", "2"], "image": contents})
    structs = plain.set_column(2, "image", [[{"bytes": content, "path": None} for content in contents]])
    lists = plain.set_column(2, "image", [[[content] for content in contents]])
    for name, table in (("plain", plain), ("structs", structs), ("lists", lists)):
        pq.write_table(table, tmp_path / f"{name}.parquet")
    images = [PIL.Image.open(io.BytesIO(content)) for content in contents]
    columns = {"question": ["what?"] * 3, "answer": ["0", "1", "2"]}
    one = datasets.Dataset.from_dict(columns | {"image": images}).cast_column("image", datasets.Image())
    one.save_to_disk(tmp_path / "saved")
    many = datasets.Dataset.from_dict(columns | {"image": [[image] for image in images]}).cast_column(
        "image", datasets.List(datasets.Image())
    )
    many.save_to_disk(tmp_path / "saved_lists")
    for source in ("plain.parquet", "structs.parquet", "lists.parquet", "saved", "saved_lists"):
        read = [[image.read() for image in problem.images] for problem in found(tmp_path / source)]
        if source.endswith("parquet"):
            assert read == [[content] for content in contents]
        else:  # `datasets` encoded them itself
            pixels = [np.asarray(PIL.Image.open(io.BytesIO(image))) for (image,) in read]
            assert all((a == np.asarray(b)).all() for a, b in zip(pixels, images, strict=True))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("missing.png", r"no image 'missing.png'"),
        ("broken.png", r"the image 'broken.png' cannot be read"),
        ("text.txt", r"the image 'text.txt' cannot be read"),
        ("../outside.png", r"lies outside of"),
        ("/etc/hostname", r"lies outside of"),
        ("link.png", r"lies outside of"),
        ("a\0b.png", r"is no file's name"),
        ("\ud800.png", r"is no file's name"),
        ("self.png", r"(is no file's name|cannot be read .*symbolic links)"),
        (7, r"an image is a int, expected a file's name, bytes"),
        ({"bytes": b"".decode(), "path": None}, r"an image is a NoneType"),
        ({"url": "x"}, r"an image is a dict"),
    ],
)
def test_what_is_no_image_of_the_dataset_is_refused_naming_the_row(tmp_path: Path, image: Any, message: str):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "good.png").write_bytes(png(0))
    (folder / "broken.png").write_bytes(png(0)[:80])
    (folder / "text.txt").write_text("hello")
    (tmp_path / "outside.png").write_bytes(png(1))
    (folder / "link.png").symlink_to(tmp_path / "outside.png")
    (folder / "self.png").symlink_to("self.png")
    with pytest.raises(DataError, match=rf"rows.jsonl, line 2: .*{message}"):
        load_problems(task(jsonl(folder, ["good.png", image])))


def test_a_column_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(DataError, match=r"line 1: no column 'picture'.*set task.image_column"):
        load_problems(task(jsonl(tmp_path, [None, None]), image_column="picture"))


@pytest.mark.parametrize(
    ("question", "template", "images", "expected"),
    [
        ("How many?", "{question}\n", 0, ["How many?\n"]),
        ("How many?", "{question}\n", 2, ["", "", "How many?\n"]),
        ("How many?", "Look: {image}{question}", 1, ["Look: ", "How many?"]),
        ("How many?", "Look: {image}{question}", 3, ["", "", "Look: ", "How many?"]),
        ("How many?", "Look: {image}{question}", 0, ["Look: How many?"]),
        ("Is {image} this?", "{image}{question}", 1, ["", "Is {image} this?"]),
        ("Is <image> or <image> larger?", "{question}", 2, ["Is ", " or ", " larger?"]),
        ("Is <image> or <image> larger?", "{image}{image}{question}", 2, ["Is ", " or ", " larger?"]),
        ("How many?", "<image>{question}", 1, ["", "How many?"]),
        ("How many?", "<image>{question}", 0, ["How many?"]),
    ],
)
def test_where_images_go(question: str, template: str, images: int, expected: list[str]):
    assert split_at_images(question, template, images) == expected


def test_a_chat_template_gets_parts_and_text_alone_stays_text():
    tokenizer = tiny_vl_policy().tokenizer
    tokenizer.chat_template = CHAT
    prompt = PromptConfig("chat", "Look at {image} and {image}: {question}\n", "Be brief.")
    assert render_prompt("same?", prompt, tokenizer, 2, "unused")[0] == "<system>Be brief.<user>Look at [V] and [V]: same?<assistant>"
    assert render_prompt("same?", prompt, tokenizer)[0] == "<system>Be brief.<user>Look at  and : same?<assistant>"


def test_prompts_are_never_truncated_and_hold_no_placeholder_of_their_own(tmp_path: Path):
    policy = tiny_vl_policy()
    (tmp_path / "0.png").write_bytes(png(0, (128, 128)))
    raw = found(jsonl(tmp_path, ["0.png", None]))[0]
    settings = load_root("default", ["task=dataset", f"task.train={tmp_path}", "task.prompt.style=plain"]).task
    problem = render([raw], settings, policy, tmp_path / "prepare")[0]
    assert problem.prompt.count("<|image_pad|>") == 1
    assert policy.vision is not None
    policy.vision.limit(1024 * 300, 1024 * 300)
    with pytest.raises(DataError, match=r"problem train-000000: its prompt has \d+ tokens, .* fewer than the 256 .* never truncated"):
        render([raw], settings, policy, tmp_path / "prepare")
    hostile = RawProblem("train-000009", "train", "see <|image_pad|>?", "1", "all", {}, raw.images)
    with pytest.raises(DataError, match=r"problem train-000009: a prompt holds 2 image placeholders .* for 1 images"):
        render([hostile], settings, policy, tmp_path / "prepare")
    for tag, shown in (("<|image_pad|>", ()), ("<|video_pad|>", ()), ("<|video_pad|>", raw.images)):
        hostile = RawProblem("train-000009", "train", f"see {tag}?", "1", "all", {}, shown)
        with pytest.raises(
            DataError, match=rf"problem train-000009: its prompt holds .*{re.escape(tag)} {len(shown) + 1} times for {len(shown)}"
        ):
            render([hostile], settings, policy, tmp_path / "prepare")
    strip = RawProblem("train-000010", "train", "?", "1", "all", {}, found(jsonl(tmp_path, [wide(tmp_path), None]))[0].images)
    with pytest.raises(DataError, match=r"problem train-000010: an image of 1000 x 2 pixels"):
        render([strip], settings, policy, tmp_path / "prepare")


def wide(folder: Path) -> str:
    (folder / "wide.png").write_bytes(png(3, (1000, 2)))
    return "wide.png"


def test_easy_vqa_balances_kinds_and_demonstrates_a_chain_that_is_true():
    settings = load_root("easy_vqa").task
    train, held_out = easy_vqa.load_problems(settings)
    kinds = [sum(problem.difficulty == kind for problem in held_out) for kind in easy_vqa.KINDS]
    assert sum(kinds) == settings.eval_size
    assert max(kinds) - min(kinds) <= 1
    assert len({(p.question, p.images) for p in train}) == len(train) == settings.train_size
    assert not {p.images for p in train} & {p.images for p in held_out}
    for cold in easy_vqa.load_cold_start(settings, 60):
        chain, answer = cold.answer.split(" #### ")
        shape, color = chain.split(", ")
        assert shape in easy_vqa.SHAPES
        assert cold.difficulty == "presence" or answer == {"shape": shape, "color": color}[cold.difficulty]
        # A question whether something is there says what it asks for; "not" and "no" turn it round.
        if cold.difficulty == "presence":
            there = any(word in (shape, color) for word in cold.question.replace("?", "").split())
            assert (answer == "yes") == (there != ("not" in cold.question.split() or "is no" in cold.question))


def test_easy_vqa_that_is_not_installed_says_how(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(easy_vqa, "PACKAGE", "easy_vqa_that_is_not_there")
    with pytest.raises(ConfigError, match=r"pip install easy-vqa==1.0"):
        easy_vqa.find_package()


def uri(content: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def test_a_data_uri_is_its_picture(tmp_path: Path):
    contents = [png(i, (300, 200)) for i in range(2)]
    assert [image.read() for problem in found(jsonl(tmp_path, list(map(uri, contents)))) for image in problem.images] == contents
    with pytest.raises(DataError, match=r"line 2: the image 'data:image/png;base64,.{,80}' is no base64"):
        found(jsonl(tmp_path, [None, uri(contents[0])[:-1]]))


@pytest.mark.parametrize("name", [base64.b64encode(png(0, (300, 200))).decode(), "a" * 300 + ".png", "b/" * 9999])
def test_a_text_that_is_too_long_a_name_shows_its_beginning(tmp_path: Path, name: str):
    with pytest.raises(DataError, match=rf"rows.jsonl, line 2: the image '{re.escape(name[:40])}.*\.\.\.' is no file's name") as caught:
        found(jsonl(tmp_path, [None, name]))
    assert len(str(caught.value)) < 400 + len(str(tmp_path))
    assert dataset_files(str(tmp_path / "rows.jsonl"), "image") == (tmp_path / "rows.jsonl",)


TAGS = ["<image 1>", "<image_1>", "<image1>", "<img>", "<Image>", "<image/>", "<|image|>"]


@pytest.mark.parametrize("tag", [*TAGS, "<image>", "<imagine>", "<image of a cat>"])
def test_the_tag_of_another_dataset_is_said(tmp_path: Path, tag: str, caplog: pytest.LogCaptureFixture):
    (tmp_path / "a.png").write_bytes(png(1))
    rows = [{"question": f"{tag} what, {i}?", "answer": str(i), "image": "a.png"} for i in range(3)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with caplog.at_level("WARNING"):
        found(tmp_path / "rows.jsonl")
    assert caplog.text.count(f"3 of 3 questions with images say '{tag}' or the like") == int(tag in TAGS)


def test_the_workflow_watches_paths_deep_in_a_table(tmp_path: Path):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(png(1))
    watched = [tmp_path / "a.png", tmp_path / "b.png"]
    stored = [{"bytes": None, "path": "a.png"}, {"bytes": None, "path": "b.png"}]
    columns = {
        "one": stored,
        "many": [stored, []],
        "deep": [{"image": one, "note": "x"} for one in stored],
        "deep.name": ["a.png", "b.png"],
    }
    pq.write_table(pa.table(columns), tmp_path / "rows.parquet")
    for column in ("one", "many", "deep.image", "deep.name"):
        assert dataset_files(str(tmp_path / "rows.parquet"), column) == (tmp_path / "rows.parquet", *watched), column
    assert dataset_files(str(tmp_path / "rows.parquet"), "deep.missing") == (tmp_path / "rows.parquet",)
    rows = jsonl(tmp_path, [{"name": "a.png"}, {"name": "b.png"}])
    assert dataset_files(str(rows), "image.name") == (rows, *watched)
