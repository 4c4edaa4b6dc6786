"""Files: all or nothing when a write fails, damage that is found, and tables that say where they come from."""

import errno
import json
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from npo_pipeline import __version__
from npo_pipeline.errors import ArtifactError, StorageError
from npo_pipeline.records import Image, Problem, Slot, Trajectory
from npo_pipeline.storage import parquet
from npo_pipeline.storage.atomic import new_folder, write_file, write_text
from npo_pipeline.storage.guides import read_shards, write_shards
from npo_pipeline.storage.lock import only_writer
from npo_pipeline.storage.manifest import NAME, read_manifest, verify, write_manifest
from npo_pipeline.storage.run_files import METRICS, RunFiles

SHA = "0" * 64
ERRORS = [
    (OSError(28, "No space left on device"), StorageError),
    (RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"), StorageError),  # as safetensors says it
    (Exception("No space left on device (os error 28)"), StorageError),  # as tokenizers says it
    (ValueError("a bug"), ValueError),
    (KeyboardInterrupt(), KeyboardInterrupt),
]


@pytest.mark.parametrize(("error", "expected"), ERRORS)
@pytest.mark.parametrize("old", ["old", None])
def test_a_file_that_fails_in_the_middle_leaves_what_was_there(
    tmp_path: Path, error: BaseException, expected: type[BaseException], old: str | None
) -> None:
    path = tmp_path / "file.txt"
    if old:
        path.write_text(old)

    def half(partial: Path) -> None:
        partial.write_text("ne")
        raise error

    with pytest.raises(expected) as caught:
        write_file(path, half)
    assert [file.name for file in tmp_path.iterdir()] == (["file.txt"] if old else [])
    assert not old or path.read_text() == old
    if expected is StorageError:
        assert str(caught.value).startswith(f"{path}: could not be written: No space left on device. ")


@pytest.mark.parametrize(("error", "expected"), ERRORS)
def test_a_folder_that_fails_in_the_middle_leaves_the_old_one(tmp_path: Path, error: BaseException, expected: type[BaseException]) -> None:
    folder = tmp_path / "folder"
    with new_folder(folder) as partial:
        (partial / "old").write_text("old")

    def replace_and_fail() -> None:
        with new_folder(folder) as partial:
            (partial / "new").write_text("new")
            raise error

    with pytest.raises(expected):
        replace_and_fail()
    assert [file.name for file in tmp_path.rglob("*")] == ["folder", "old"]


def test_a_folder_is_replaced_as_a_whole_and_a_killed_one_is_swept_away(tmp_path: Path) -> None:
    folder, killed = tmp_path / "folder", tmp_path / ".folder.partial"
    for place in (folder, killed):
        place.mkdir()
        (place / "old").write_text("old")
    with new_folder(folder) as partial:
        (partial / "new").write_text("new")
    assert [file.name for file in tmp_path.rglob("*")] == ["folder", "new"]


def test_a_place_that_is_no_folder_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"could not be written: "):
        write_text(tmp_path / "file/below.txt", "text")


def stage_folder(folder: Path) -> Path:
    for name in ("a.bin", "sub/b.bin"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode() * 9)
    write_manifest(folder, "probe", SHA, [folder / "sub/b.bin", folder / "a.bin"], {"steps": 3})
    return folder


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def swap(path: Path) -> None:
    path.write_bytes(bytes(reversed(path.read_bytes())))


DAMAGE: list[tuple[Any, str]] = [
    (Path.unlink, "listed in the manifest but not found"),
    (lambda path: path.write_bytes(path.read_bytes()[:-1]), r"damaged, \d+ bytes where the manifest says"),
    (lambda path: path.write_bytes(b""), "damaged, 0 bytes"),
    (flip, "damaged, sha256 "),
    (swap, "damaged, sha256 "),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGE)
@pytest.mark.parametrize("name", ["a.bin", "sub/b.bin"])
def test_verify_names_the_damaged_file_and_the_fix(tmp_path: Path, name: str, damage: Any, message: str) -> None:
    folder = stage_folder(tmp_path)
    assert verify(folder)["steps"] == 3
    damage(folder / name)
    with pytest.raises(ArtifactError, match=rf"^{folder / name}: {message}.*Delete {folder / NAME} and run snakemake again") as caught:
        verify(folder)
    assert "\n" not in str(caught.value)
    other = "sub" if name == "a.bin" else "a"
    assert set(verify(folder, other)["files"]) == {"a.bin", "sub/b.bin"}  # what was not asked for is not read


def test_a_folder_among_the_files_is_passed_over(tmp_path: Path) -> None:
    folder = stage_folder(tmp_path)
    write_manifest(folder, "prepare", SHA, folder.rglob("*.bin"))
    listed = set(read_manifest(folder)["files"])
    write_manifest(folder, "prepare", SHA, [*folder.rglob("*.bin"), folder / "sub"])
    assert set(read_manifest(folder)["files"]) == listed == {"a.bin", "sub/b.bin"}


def test_a_file_system_without_locks_does_not_stop_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(stream: Any, how: int) -> None:  # as Lustre does without its flock option
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", refuse)
    with only_writer(tmp_path):
        assert "has no locks (Function not implemented)" in caplog.text


def test_equal_files_give_equal_manifests(tmp_path: Path) -> None:
    first, second = stage_folder(tmp_path / "1"), stage_folder(tmp_path / "2")
    assert (first / NAME).read_bytes() == (second / NAME).read_bytes()


NOT_JSON = (b"", b"{", b"\xe9", b"[" * 10**5)
NO_MANIFEST = (b"[]", b"null", b'{"schema": 2}', b'{"schema": 2, "files": {"a": 1}}', b'{"schema": 3, "files": []}')
NO_ENTRY = (b'{"schema": 2, "files": [{"path": "a.bin"}]}', b'{"schema": 2, "files": [{"path": "a.bin", "size": "x", "sha256": ""}]}')


@pytest.mark.parametrize("content", [*NOT_JSON, *NO_MANIFEST, *NO_ENTRY])
def test_a_damaged_manifest_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / NAME).write_bytes(content)
    with pytest.raises(ArtifactError, match=rf"^{tmp_path / NAME}: .*run snakemake again") as caught:
        verify(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_missing_manifest_or_fact_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=rf"^{tmp_path / NAME}: not found"):
        read_manifest(tmp_path)
    with pytest.raises(ArtifactError, match=rf"^{tmp_path / NAME}: holds no 'lookback'"):
        read_manifest(stage_folder(tmp_path))["lookback"]


IMAGES = (Image("images/ab.png", "ab", 64, 48), Image("images/cd.jpeg", "cd", 32, 16))
PROBLEM = Problem("train-000000", "train", "Größe?", "3", "1", "Größe?\n", (5, 9), {"index": 1}, IMAGES)
TRAJECTORY = Trajectory("train-000000", 1, (5, 9), (7, 1), (-0.5, -0.25), 1.0, True, "stop", "3 \U0001f600", IMAGES)
FACTS = {"step": 0, "slot": 1, "advantage": 0.5, "group_accuracy": 0.25, "trainer_logprobs": [-0.5, -0.25]}
TABLES = {
    "problems": (parquet.PROBLEMS, parquet.problem_row(PROBLEM)),
    "shard": (parquet.GUIDE_SHARD, parquet.trajectory_row(TRAJECTORY, 2, PROBLEM.prompt, SHA)),
    "rollout": (parquet.ROLLOUT, parquet.rollout_row(Slot(TRAJECTORY, "guide", 2), FACTS, PROBLEM.prompt, SHA)),
    "scores": (parquet.SCORES, {"problem_id": "p", "current_step": 0, "guide_step": 2, "sample_index": 1, "current_logprobs": [-1.0]}),
    "signal": (parquet.SIGNAL, dict.fromkeys(parquet.SIGNAL.names, 1) | {"q": None, "v": float("nan")}),
}


@pytest.mark.parametrize("kind", TABLES)
def test_every_kind_of_table_loads_with_datasets(tmp_path: Path, kind: str) -> None:
    """Also beside a table without rows, as a guide checkpoint that solved nothing leaves one."""
    schema, row = TABLES[kind]
    files = [str(parquet.write_table(tmp_path / f"{count}.parquet", [row] * count, schema, SHA)) for count in (0, 3)]
    for data_files in (files, files[1:]):
        loaded = datasets.load_dataset("parquet", data_files=data_files, split="train", cache_dir=str(tmp_path / "cache"))
        assert (loaded.num_rows, loaded.column_names) == (3, schema.names)


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize("count", [0, 3])
def test_every_kind_of_table_says_where_it_is_from(tmp_path: Path, kind: str, count: int) -> None:
    schema, row = TABLES[kind]
    path = parquet.write_table(tmp_path / f"{kind}.parquet", [row] * count, schema, SHA, {"temperature": 0.7})
    metadata = pq.read_schema(path).metadata
    found = {key: metadata[f"npo.{key}".encode()].decode() for key in ("schema_version", "config_sha256", "code_version", "temperature")}
    assert found == {"schema_version": "2", "config_sha256": SHA, "code_version": __version__, "temperature": "0.7"}
    assert parquet.read_table(path, schema).num_rows == count


def test_problems_and_shards_come_back_as_they_were(tmp_path: Path) -> None:
    path = parquet.write_table(tmp_path / "problems.parquet", [parquet.problem_row(PROBLEM)], parquet.PROBLEMS, SHA)
    assert parquet.read_problems(path) == parquet.read_problems(path, PROBLEM.split) == [PROBLEM]
    assert parquet.read_problems(path, "another") == []
    assert [image.file for image in parquet.read_problems(path)[0].images] == [tmp_path / image.path for image in IMAGES]
    folder = tmp_path / "guide/step-000002"
    rows = [parquet.trajectory_row(TRAJECTORY, 2, PROBLEM.prompt, SHA)] * 5
    files = write_shards(folder, rows, 2, SHA, {"guide_step": 2})
    assert [file.name for file in files] == [f"trajectories-0000{i}-of-00003.parquet" for i in range(3)]
    write_manifest(folder, "guide", SHA, files)
    assert [trajectory for trajectory, _ in read_shards(folder)] == [TRAJECTORY] * 5
    files[1].unlink()
    with pytest.raises(ArtifactError, match=rf"^{files[1]}: .*Delete {tmp_path}/guide/jobs and {tmp_path}/guide/manifest.json"):
        read_shards(folder)


def foreign(path: Path, metadata: dict[str, str]) -> None:
    pq.write_table(pa.table({"problem_id": ["p"]}).replace_schema_metadata(metadata), path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (Path.unlink, "not a readable Parquet file"),
        (lambda path: path.write_bytes(path.read_bytes()[:40]), "not a readable Parquet file"),
        (lambda path: path.write_bytes(b""), "not a readable Parquet file"),
        (lambda path: foreign(path, {}), "schema version None, this code reads 2"),
        (lambda path: foreign(path, {"npo.schema_version": "3"}), "schema version 3, this code reads 2"),
        (lambda path: foreign(path, {"npo.schema_version": "x"}), "not a readable Parquet file"),
        (lambda path: foreign(path, {"npo.schema_version": "2"}), "column 'current_step' is missing"),
    ],
)
def test_a_table_of_another_kind_is_refused(tmp_path: Path, damage: Any, message: str) -> None:
    schema, row = TABLES["scores"]
    path = parquet.write_table(tmp_path / "scores.parquet", [row], schema, SHA)
    damage(path)
    with pytest.raises(ArtifactError, match=rf"^{path}: {message}"):
        parquet.read_rows(path, schema)


def run_of(folder: Path, steps: int) -> RunFiles:
    files = RunFiles(folder, SHA)
    files.start(0)
    for step in range(steps):
        files.write_step(step, [TABLES["rollout"][1]], [], {"reward/mean": step})
    return files


def test_a_resumed_run_keeps_the_steps_before_it(tmp_path: Path) -> None:
    files = run_of(tmp_path, 4)
    with open(tmp_path / METRICS, "a") as stream:
        stream.write('{"step": 4, "rew')  # a full disk, or a kill
    files.start(3)
    assert [json.loads(line)["step"] for line in (tmp_path / METRICS).read_text().splitlines()] == [0, 1, 2]


def test_a_flipped_bit_in_a_manifest_is_always_found(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"a")
    write_manifest(tmp_path, "probe", SHA, [tmp_path / "a.bin"], {"steps": 4, "counts": {1: 2.5, 10: None}})
    whole = (tmp_path / NAME).read_bytes()
    assert verify(tmp_path)["steps"] == 4
    for place in range(len(whole) - 1):  # all but the last line's end
        damaged = bytearray(whole)
        damaged[place] ^= 1
        (tmp_path / NAME).write_bytes(damaged)
        with pytest.raises(ArtifactError, match=rf"^{tmp_path / NAME}: "):
            verify(tmp_path)


def test_a_line_that_is_damaged_names_what_a_resume_would_meet_again(tmp_path: Path) -> None:
    files = run_of(tmp_path, 2)
    (tmp_path / METRICS).write_bytes(b"\0\0\n\0\n")  # as some file systems leave a file when the power fails
    assert files.whole_steps() == 2
    with pytest.raises(ArtifactError, match=rf"line 1 is not JSON. Delete {tmp_path}/state and {tmp_path / NAME} and run its stage again"):
        files.start(2)


def test_a_run_that_lost_its_metrics_is_not_resumed(tmp_path: Path) -> None:
    files = run_of(tmp_path, 2)
    with pytest.raises(ArtifactError, match=rf"^{tmp_path / METRICS}: 2 lines, expected the 3 of the saved state"):
        files.start(3)


def test_a_table_of_before_its_last_columns_were_there_is_read_with_nulls(tmp_path: Path) -> None:
    older = pa.schema([field for field in parquet.SIGNAL if field.name not in parquet.CAME_LATER])
    path = parquet.write_table(tmp_path / "signal.parquet", [{"current_step": 1, "s": 0.5}], older, SHA)
    row = parquet.read_rows(path, parquet.SIGNAL)[0]
    assert (row["current_step"], row["s"], row["v_se"], row["s_se"]) == (1, 0.5, None, None)
    assert list(row) == parquet.SIGNAL.names
