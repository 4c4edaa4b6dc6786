"""The checkpoint store against copies of the weights that were kept beside it: every step, any order, every damage."""

import json
import random
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from checkpoint_runs import STEPS, policy_of, train, write_run
from safetensors import safe_open
from tiny import tiny_policy
from torch import Tensor
from transformers import AutoModelForCausalLM

from npo_pipeline.configuration.settings import LoraConfig
from npo_pipeline.errors import ArtifactError, ConfigError, StorageError
from npo_pipeline.policy import checkpoints
from npo_pipeline.policy.checkpoints import CheckpointWriter, Walk, open_policy, policy_sha256
from npo_pipeline.policy.identity import identity, weights_sha256
from npo_pipeline.policy.lora import add_lora
from npo_pipeline.policy.policy import Policy, load_policy, save_policy
from npo_pipeline.storage.checkpoints import DELTA, RECORD, read_records, route, whole_until, write_record
from npo_pipeline.storage.deltas import encode
from npo_pipeline.storage.layout import checkpoint
from npo_pipeline.storage.patching import patch


def assert_equal(policy: Policy, expected: dict[str, Tensor]) -> None:
    found = policy.model.state_dict()
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name].view(torch.uint8), tensor.view(torch.uint8)), name


def reshard(run: Path, policy: Policy) -> None:
    """Cut the first full policy into several files, as a large one is."""
    folder = checkpoint(run, 0)
    record = read_records(run)[0]
    before = Walk(run, 0).policy
    (folder / "model.safetensors").unlink()
    before.model.save_pretrained(folder, max_shard_size="40KB")
    assert len(list(folder.glob("model-*.safetensors"))) >= 2
    (folder / RECORD).unlink()
    write_record(folder, 0, None, True, record.dtype, record.weights_sha256)


@pytest.mark.parametrize("shards", [1, 2])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(("dtype", "share", "full"), [(torch.bfloat16, 0.01, {0, 6, 12}), (torch.float32, 1.0, set(STEPS))])
def test_every_step_comes_back_bit_by_bit_in_any_order(
    tmp_path: Path, dtype: torch.dtype, share: float, full: set[int], tied: bool, shards: int
) -> None:
    policy = policy_of(dtype, tied)
    kept = write_run(tmp_path, policy, share)
    if shards > 1:
        reshard(tmp_path, policy)
    assert {step for step, record in read_records(tmp_path).items() if record.full} == full
    order = [step for step in STEPS for _ in range(2)]
    random.Random(0).shuffle(order)
    walk = Walk(tmp_path, order[0])
    for step in order:
        walk.to(step)
        assert_equal(walk.policy, kept[step])
        assert (walk.policy.model.lm_head.weight is walk.policy.model.model.embed_tokens.weight) == tied
    for step in STEPS:
        assert_equal(open_policy(checkpoint(tmp_path, step), "bfloat16"), kept[step])


def test_a_full_checkpoint_is_an_ordinary_directory_and_a_delta_is_small(tmp_path: Path) -> None:
    kept = write_run(tmp_path, policy_of(torch.bfloat16), 0.01)
    plain = AutoModelForCausalLM.from_pretrained(checkpoint(tmp_path, 6), dtype=torch.bfloat16).state_dict()
    assert all(torch.equal(plain[name], tensor) for name, tensor in kept[6].items())
    records = read_records(tmp_path)
    sizes = [records[step].delta_size for step in STEPS]
    assert sizes[0] is None
    assert all(size is not None and size < 0.1 * records[0].full_size for size in sizes[1:])


def test_patching_goes_on_across_a_full_checkpoint_and_a_far_one_is_loaded(tmp_path: Path) -> None:
    write_run(tmp_path, policy_of(torch.bfloat16), 0.01)
    records = read_records(tmp_path)
    assert route(tmp_path, records, 8, at=4) == (4, [6, 8])
    assert route(tmp_path, records, 4, at=8) == (8, [8, 6])
    assert route(tmp_path, records, 2) == (0, [2])
    assert route(tmp_path, records, 10) == (12, [12])  # the next full one is nearer than the last
    assert route(tmp_path, records, 12, at=0)[0] in (0, 12)


@pytest.mark.parametrize("at", [2, 6, 10])
def test_a_resumed_run_writes_the_same_bytes(tmp_path: Path, at: int) -> None:
    """Killed before step `at`: what lies there of later steps is made again."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    write_run(whole, policy_of(torch.bfloat16), 0.01)
    write_run(killed, policy_of(torch.bfloat16), 0.01)
    policy = policy_of(torch.bfloat16)
    for step in range(0, at, 2):
        train(policy, step, 0.01)
    write_run(killed, policy, 0.01, range(at, 14, 2))
    files = {file.relative_to(whole): file.read_bytes() for file in whole.rglob("*") if file.is_file()}
    assert files == {file.relative_to(killed): file.read_bytes() for file in killed.rglob("*") if file.is_file()}


@pytest.mark.parametrize("kind", ["bfloat16", "lora"])
def test_records_that_name_weights_as_before_are_read_checked_and_gone_on_with(tmp_path: Path, kind: str) -> None:
    policy = with_adapter(tmp_path) if kind == "lora" else policy_of(torch.bfloat16)
    start = {name: tensor.clone() for name, tensor in policy.model.state_dict().items()}
    kept = write_run(tmp_path / "run", policy, 0.01)
    as_before(tmp_path / "run", policy, kept)
    records = read_records(tmp_path / "run")
    walk = Walk(tmp_path / "run", 4)
    for step in (4, 10, 2):
        walk.to(step)
        assert_equal(walk.policy, kept[step])
        assert walk.sha256() == records[step].weights_sha256 == policy_sha256(checkpoint(tmp_path / "run", step), walk.policy)
        assert identity(walk.policy) != walk.sha256()
    policy.model.load_state_dict(start)
    for step in range(0, 6, 2):
        train(policy, step, 0.01)
    write_run(tmp_path / "run", policy, 0.01, range(6, 14, 2))
    assert [record.schema for record in read_records(tmp_path / "run").values()] == [1, 1, 1, 2, 2, 2, 2]
    for step in (4, 8):
        walk = Walk(tmp_path / "run", step)
        assert_equal(walk.policy, kept[step])
        with torch.no_grad():
            next(parameter for parameter in walk.policy.model.parameters() if parameter.requires_grad).view(-1)[0] += 1
        with pytest.raises(ArtifactError, match=f"step-00000{step}: its weights have sha256"):
            walk.sha256()


def test_a_policy_that_no_run_recorded_is_named_by_its_identity(tmp_path: Path) -> None:
    policy = policy_of(torch.bfloat16)
    write_run(tmp_path / "run", policy_of(torch.bfloat16), 0.01)
    shutil.copytree(checkpoint(tmp_path / "run", 0), tmp_path / "mine")
    assert policy_sha256(tmp_path / "mine", policy) == identity(policy) == read_records(tmp_path / "run")[0].weights_sha256


def test_the_names_that_weights_had_and_have_stay() -> None:
    """Taken down when they were made: by them results of other years are checked."""
    model = torch.nn.Linear(3, 5, dtype=torch.float32)
    model.load_state_dict({"weight": torch.arange(15.0).view(5, 3), "bias": torch.arange(5.0) / 8})
    policy = Policy(model, None, (0,), 0)  # type: ignore[arg-type]
    assert weights_sha256(policy) == "47f98ffcfc5854b08898630153229ffb8eedcfda9a12a303d5ca6e3396de9381"
    assert identity(policy) == "9a3efa921984315d4394e1d7f5444be9e21a6becda713a0c251382a9d3c0f627"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    write_run(folder, policy_of(torch.bfloat16), 0.01)
    return folder


def as_before(run: Path, policy: Policy, kept: dict[int, dict[str, Tensor]]) -> None:
    """Records as they were when weights were named by the sha256 of all their bytes."""
    for step in STEPS:
        policy.model.load_state_dict(kept[step])
        path = checkpoint(run, step) / RECORD
        path.write_text(json.dumps(json.loads(path.read_text()) | {"schema": 1, "weights_sha256": weights_sha256(policy)}))


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) * 2 // 3] ^= 1
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def schema(path: Path) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema": 9}))


def another_record(path: Path) -> None:
    shutil.copy(path.parent.parent / "step-000004" / RECORD, path)


DAMAGES: list[tuple[str, Callable[[Path], object], str]] = [
    (f"step-000002/{DELTA}", flip, "damaged"),
    (f"step-000002/{DELTA}", truncate, "damaged"),
    (f"step-000002/{DELTA}", Path.unlink, "No such file"),
    (f"step-000002/{DELTA}", lambda path: shutil.copy(path.parents[2] / "step-000004" / DELTA, path), "damaged"),
    (f"step-000002/{RECORD}", truncate, "damaged"),
    (f"step-000002/{RECORD}", Path.unlink, "No such file"),
    (f"step-000002/{RECORD}", schema, "schema 9, this code reads 1 and 2"),
    (f"step-000002/{RECORD}", another_record, "says step 4, which is another folder's"),
    ("step-000000/model.safetensors", flip, "its weights have sha256"),
    ("step-000000/config.json", truncate, "could not be loaded as a causal LM .* Delete .*/run/manifest.json and run snakemake again"),
    ("step-000000", lambda path: shutil.copytree(path.parent / "step-000006", path, dirs_exist_ok=True), "says step 6"),
]


@pytest.mark.parametrize(("name", "damage", "message"), DAMAGES, ids=lambda value: getattr(value, "__name__", str(value))[:40])
def test_damage_is_found_before_use_and_named(run: Path, tmp_path: Path, name: str, damage: Callable[[Path], object], message: str) -> None:
    shutil.copytree(run, tmp_path / "run")
    damage(tmp_path / "run/checkpoints" / name)
    with pytest.raises(ArtifactError, match=f"{tmp_path}/run/checkpoints/{name.split('/')[0]}.*{message}"):
        Walk(tmp_path / "run", 0).to(2)


def test_a_missing_checkpoint_in_between_is_named(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    shutil.rmtree(checkpoint(tmp_path / "run", 8))
    walk = Walk(tmp_path / "run", 6)
    walk.to(10)  # from the full one behind it
    with pytest.raises(ArtifactError, match="step-000008: not found; the checkpoints of this run are: 0, 2, 4, 6, 10, 12"):
        walk.to(8)
    assert whole_until(tmp_path / "run", range(0, 14, 2)) == 8


def test_a_whole_checkpoint_that_was_copied_out_of_its_run_is_a_policy(run: Path, tmp_path: Path) -> None:
    shutil.copytree(checkpoint(run, 0), tmp_path / "mine")
    assert_equal(open_policy(tmp_path / "mine", "bfloat16"), open_policy(checkpoint(run, 0), "bfloat16").model.state_dict())


def test_a_policy_that_a_setting_names_is_blamed_on_that_setting(tmp_path: Path) -> None:
    save_policy(tiny_policy(), tmp_path / "policy")
    (tmp_path / "policy/tokenizer.json").unlink()
    with pytest.raises(ConfigError, match=f"^policy.path={tmp_path}/policy: could not be loaded as a causal LM"):
        load_policy(tmp_path / "policy", "float32", key="policy.path")
    with pytest.raises(ArtifactError, match=f"^{tmp_path}/policy: could not be loaded .*Run the stage that wrote it again"):
        load_policy(tmp_path / "policy", "float32")


def test_a_weight_without_dimensions_counts_too() -> None:
    policy = tiny_policy()
    policy.model.register_buffer("count", torch.tensor(1.0))  # as batch normalisation has
    before = identity(policy)
    policy.model.count += 1
    assert identity(policy) != before


def with_adapter(folder: Path) -> Policy:
    save_policy(tiny_policy(), folder / "policy")
    policy = load_policy(folder / "policy", "float32")
    add_lora(policy.model, LoraConfig(2, 4.0), folder / "policy", 0)
    return policy


def test_an_adapter_is_kept_whole_every_time(tmp_path: Path) -> None:
    kept = write_run(tmp_path / "run", with_adapter(tmp_path), 1.0)
    assert all(record.full and record.previous is None for record in read_records(tmp_path / "run").values())
    walk = Walk(tmp_path / "run", 12)
    for step in (4, 0, 8):
        walk.to(step)
        assert_equal(walk.policy, kept[step])


def test_a_delta_of_other_weights_is_refused() -> None:
    old, new = {"a": torch.zeros(4)}, {"a": torch.ones(4)}
    with pytest.raises(ValueError, match="a: 5 elements, 4 in the delta"):
        patch({"a": torch.zeros(5)}, *encode(old, new))


def test_bits_that_compare_equal_or_never_are_kept() -> None:
    """-0.0 and 0.0 are equal numbers, NaN is not even equal to itself."""
    old = {"a": torch.tensor([0.0, float("nan"), 1.0]), "b": torch.tensor([1, 2]), "c": torch.zeros(0)}
    new = {"a": torch.tensor([-0.0, float("nan"), float("nan")]), "b": torch.tensor([1, 3]), "c": torch.zeros(0)}
    weights = {name: tensor.clone() for name, tensor in old.items()}
    for expected in (new, old):
        patch(weights, *encode(old, new))
        assert all(torch.equal(weights[name].view(torch.uint8), expected[name].view(torch.uint8)) for name in old)


def test_what_goes_wrong_on_the_thread_is_raised_at_the_next_step(tmp_path: Path) -> None:
    policy = tiny_policy()
    (tmp_path / "checkpoints").write_text("a file where the folder should be")
    writer = CheckpointWriter(policy, tmp_path, 1)
    writer.put(0, identity(policy))
    with pytest.raises(StorageError, match="step-000000: could not be written"):
        writer.put(1, identity(policy))
    writer.close()


def test_the_weights_may_change_while_they_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer waits until training has gone on: what it writes is what was handed over."""
    policy, trained = policy_of(torch.bfloat16), threading.Event()
    write = checkpoints.write_policy
    monkeypatch.setattr(checkpoints, "write_policy", lambda *arguments: trained.wait(30) and write(*arguments))
    before = {name: tensor.clone() for name, tensor in policy.model.state_dict().items()}
    writer = CheckpointWriter(policy, tmp_path, 1)
    writer.put(0, identity(policy))
    train(policy, 0, 1.0)
    trained.set()
    writer.wait()
    writer.close()
    assert_equal(Walk(tmp_path, 0).policy, before)


def test_the_format_is_safetensors_of_bytes(run: Path) -> None:
    with safe_open(checkpoint(run, 2) / DELTA, "pt") as file:
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.uint8}  # noqa: SIM118
        assert "blocks" in file.metadata()
