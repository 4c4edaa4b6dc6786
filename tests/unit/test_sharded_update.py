"""What ranks share, and updates over 2 and 4 processes against the same updates of one (tests/rank_scenarios.py)."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from rank_scenarios import SCENARIOS, Tensors
from safetensors.torch import load_file

from npo_pipeline.distributed.launch import _reason
from npo_pipeline.distributed.ranks import Ranks
from npo_pipeline.errors import NumericalError, PeerError
from npo_pipeline.grpo.dealing import deal

TESTS = Path(__file__).resolve().parents[1]
# Largest difference that is allowed: of numbers relative to 1 or their size; of weights absolute, where a step of AdamW changes
# up to the learning rate (1e-3 in float32, 1e-4 and 1e-2 in bfloat16: there a last bit that differs may turn a small gradient's sign).
FLOAT32, BFLOAT16, BFLOAT16_LORA = (2e-5, 5e-5), (5e-3, 1e-3), (2e-2, 6e-2)
ALLOWED = dict.fromkeys(SCENARIOS, FLOAT32) | {"bfloat16": BFLOAT16, "bfloat16_lora": BFLOAT16_LORA}


class Scripted(Ranks):
    """A rank whose exchanges are written down."""

    def __init__(self, rank: int, size: int, answers: list[list[object]]) -> None:
        self.rank, self.size, self.answers, self.said = rank, size, answers, []

    def gather(self, value):
        self.said.append(value)
        return self.answers.pop(0)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7])
def test_shares_are_all_items_in_order_and_even(size: int) -> None:
    for count in range(12):
        shares = [Scripted(rank, size, []).share(list(range(count))) for rank in range(size)]
        assert [item for share in shares for item in share] == list(range(count))
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_rank_without_a_share_does_no_work_but_gets_the_result() -> None:
    ranks = Scripted(0, 3, [[[], [10], [20]]])
    assert ranks.spread(lambda own: pytest.fail("no work for this rank"), [1, 2]) == [10, 20]
    assert ranks.said == [[]]


def test_what_differs_between_ranks_stops_the_run() -> None:
    assert Scripted(0, 2, [["a", "a"]]).same("a", "weights") == "a"
    with pytest.raises(NumericalError, match="weights: not the same in all 2 processes"):
        Scripted(0, 2, [["a", "b"]]).same("a", "weights")


def test_one_process_exchanges_nothing() -> None:
    ranks = Ranks()
    assert (ranks.main, ranks.total(-0.0), ranks.first(None), ranks.on_main(lambda: 5)) == (True, 0.0, None, 5)
    assert str(ranks.total(-0.0)) == "-0.0", "not a bit is changed"


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_every_rank_gets_as_many_micro_batches_and_every_row_counts_once(size: int) -> None:
    draw = random.Random(size)
    for budget in (1, 40, 200, 10_000):
        for count in (0, 1, 3, 17, 64):
            lengths = [(draw.randint(1, 9), draw.randint(0, 20)) for _ in range(count)]
            dealt = [list(deal(lengths, budget, rank, size)) for rank in range(size)]
            assert len({len(batches) for batches in dealt}) == 1
            counted = [batch.rows for batches in dealt for batch in batches if not batch.dummy]
            assert sorted(row for rows in counted for row in rows) == list(range(count))
            assert all(batch.rows for batches in dealt for batch in batches)
            assert sum(batch.dummy for batches in dealt for batch in batches) < size
            padded = [len(rows) * (max(lengths[i][0] for i in rows) + max(lengths[i][1] for i in rows)) for rows in counted]
            assert all(cost <= budget or len(rows) == 1 for cost, rows in zip(padded, counted, strict=True))


def test_the_reason_for_an_end_is_the_rank_that_failed_and_not_those_that_lost_it() -> None:
    assert _reason({0: PeerError.exit_code, 1: 74}, 2) == 74
    assert _reason({0: PeerError.exit_code}, 2) == PeerError.exit_code
    with pytest.raises(PeerError, match=r"rank 1 of 4 was killed by SIGKILL \(the system does that where memory runs out\)"):
        _reason({0: PeerError.exit_code, 1: -9}, 4)
    assert _reason({0: -15, 1: 75}, 2) == 75, "the launcher's own word to a rank that was slower to end"
    with pytest.raises(PeerError, match="rank 1 of 2 was killed by SIGKILL"):
        _reason({0: -15, 1: -9}, 2)


@pytest.fixture(scope="module")
def single() -> dict[str, Tensors]:
    return {name: scenario(Ranks()) for name, scenario in SCENARIOS.items()}


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 4])
def test_any_number_of_processes_gives_the_same_updates(size: int, single: dict[str, Tensors], tmp_path: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(size)]
    paths = os.pathsep.join([str(TESTS.parent), str(TESTS)])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    words = [*torchrun, str(TESTS / "rank_scenarios.py"), str(tmp_path)]
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600, env=environment)
    assert done.returncode == 0, done.stdout
    for name, expected in single.items():
        found, (relative, absolute) = load_file(tmp_path / f"{name}.safetensors"), ALLOWED[name]
        assert found.keys() == expected.keys()
        for key, tensor in expected.items():
            is_weight = key.startswith("weight.")
            tolerance = {"rtol": 0.0, "atol": absolute} if is_weight else {"rtol": relative, "atol": relative}
            torch.testing.assert_close(found[key], tensor, **tolerance, msg=lambda text, at=f"{name} {key}": f"{at}: {text}")
    for name in ("steps", "averaged"):
        assert torch.equal(load_file(tmp_path / f"{name}.safetensors")["tokens"], single[name]["tokens"])
