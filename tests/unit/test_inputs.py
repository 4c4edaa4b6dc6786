"""What an output was made from, by content."""

import os
from pathlib import Path

import pytest

from npo_pipeline.storage import inputs
from npo_pipeline.storage.inputs import changed_keys, digest, mend_times, read_record, recorded_outputs, why_stale, write_record

BEFORE, AFTER = "grpo:\n  learning_rate: 0.1\nsteps: 4\n", "grpo:\n  learning_rate: 0.2\nsteps: 4\nlora: true\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An experiment whose probe was made from its configuration, from what prepare left, and from a file that lies elsewhere."""
    for name, text in {"r/config/probe.yaml": BEFORE, "r/prepare/m.json": "1", "r/seed-0/probe/m.json": "2", "data.jsonl": "3"}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    root = tmp_path / "r"
    write_record(root, root / "seed-0/probe/m.json", [root / "config/probe.yaml", root / "prepare/m.json", tmp_path / "data.jsonl"])
    return root


def reason(root: Path, text: str = BEFORE) -> str:
    record = read_record(root, root / "seed-0/probe/m.json")
    assert record
    return why_stale(root, record, {"config/probe.yaml": text})


def test_nothing_changed_is_current_also_under_another_name(root: Path) -> None:
    assert reason(root) == ""
    assert reason(root.rename(root.parent / "other")) == ""


def test_each_change_is_named(root: Path) -> None:
    assert reason(root, AFTER) == "config/probe.yaml says otherwise: grpo.learning_rate 0.1 -> 0.2, lora unset -> True"
    (root.parent / "data.jsonl").write_text("33")
    assert reason(root) == f"{root.parent / 'data.jsonl'} has another content than it was made from"
    (root / "prepare/m.json").write_text("11")
    assert reason(root) == "prepare/m.json has another content than it was made from"


def test_what_is_missing_is_no_reason_it_decides_when_it_is_back(root: Path) -> None:
    (root / "prepare/m.json").unlink()
    assert reason(root) == ""


def test_a_record_of_another_output_or_a_damaged_one_says_nothing(root: Path) -> None:
    output = root / "seed-0/probe/m.json"
    assert recorded_outputs(root) == [output]
    output.write_text("made again since, by hand")
    assert read_record(root, output) is None
    output.write_text("2")
    record = inputs.place(root, output)
    for text in ("{", "[]", '{"output": 3}', '{"output": "x", "inputs": 3, "configs": {}}'):
        record.write_text(text)
        assert read_record(root, output) is None
    output.unlink()
    assert recorded_outputs(root) == []


def test_times_are_mended_along_the_chain_and_for_benchmarks(root: Path) -> None:
    probe, evaluation, benchmark = root / "seed-0/probe/m.json", root / "seed-0/e.json", root / "benchmarks/seed-0/probe.tsv"
    for file in (evaluation, benchmark):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("5")
    write_record(root, evaluation, [probe])
    for moment, file in enumerate((evaluation, benchmark, probe, root / "config/probe.yaml", root / "prepare/m.json")):
        os.utime(file, (1000 + moment, 1000 + moment))
    os.utime(root.parent / "data.jsonl", (1, 1))
    mend_times(root, {output: record for output in (evaluation, probe) if (record := read_record(root, output))})
    assert [file.stat().st_mtime for file in (probe, evaluation, benchmark)] == [1004.0] * 3


def test_many_changed_keys_are_counted() -> None:
    assert changed_keys("a: 1\nb: 1\nc: 1\nd: 1", "a: 2\nb: 2\nc: 2\nd: 2").endswith("c 1 -> 2 and 1 more")


def test_a_large_file_is_known_by_its_size_and_both_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "WHOLE", 4)
    file, seen = tmp_path / "weights", set()
    for content in (b"abcdefgh", b"Xbcdefgh", b"abcdefgX", b"abcdeefgh", b"abcd"):
        file.write_bytes(content)
        seen.add(digest(file))
    assert len(seen) == 5
