"""What is assumed of a machine that nobody timed, against what was timed on one H200 (docs/one-gpu.md) and by hand."""

import pytest

from npo_pipeline.configuration.compose import load_root
from npo_pipeline.configuration.engine import settle_engine
from npo_pipeline.configuration.settings import RootConfig
from npo_pipeline.planning.architecture import Architecture, architecture_of
from npo_pipeline.planning.pace import CORE, GRAPH_LAYER, LAYER, Lengths, hardware, rows_of_a_step, sampling, scoring

QWEN3 = "policy=hf policy.path=Qwen/Qwen3-0.6B policy.cold_start.steps=0 grpo.prompts_per_step=16 grpo.micro_batch_tokens=8192"
SUMS = "grpo.prompts_per_step=32 engine.max_batch=256"


def case(experiment: str, overrides: str, engine: str) -> tuple[RootConfig, Architecture]:
    root = load_root(experiment, f"{overrides} engine={engine}")
    root.engine = settle_engine(root.engine, engine, gpu=True)
    return root, architecture_of(root.policy)


@pytest.mark.parametrize(
    ("experiment", "overrides", "engine", "lengths", "tokens", "sampled", "updated"),
    [
        ("default", f"{QWEN3} sampling.max_new_tokens=256", "vllm", Lengths(32, 256, 256), 32_768, 1.90, 1.76),
        ("default", f"{QWEN3} sampling.max_new_tokens=256", "transformers", Lengths(32, 256, 256), 32_768, 7.76, 1.66),
        ("smollm2_chain_sum", SUMS, "transformers", Lengths(48, 3.3, 6), 812, 0.19, 0.79),
    ],
)
def test_a_card_was_at_least_as_fast_and_not_three_times_so(
    experiment: str, overrides: str, engine: str, lengths: Lengths, tokens: int, sampled: float, updated: float
) -> None:
    root, model = case(experiment, overrides, engine)
    assert sampled <= tokens * sampling(root, model, True, lengths, rows_of_a_step(root)) < 3 * sampled
    assert updated <= tokens * scoring(root, model, True, lengths, root.grpo.epochs) < 3 * updated


def test_arithmetic_and_the_wait_for_layers_by_hand() -> None:
    """30 layers, 134,515,008 parameters: 6 tokens for 10 rows of 3 on average; then a micro-batch that 128 rows of 3 do not fill."""
    root, model = case("smollm2_chain_sum", "policy.dtype=bfloat16", "transformers")
    assert sampling(root, model, True, Lengths(0, 3, 6), 10) == pytest.approx(2 * 134_515_008 / 2e13 + 30 * 6 * LAYER / 30)
    assert rows_of_a_step(root) == 128
    assert scoring(root, model, True, Lengths(0, 3, 6), 1) == pytest.approx(8 * 134_515_008 / 8e13 + 4 * 30 * LAYER / (128 * 3))
    full = Lengths(1000, 1000, 1000)
    assert scoring(root, model, True, full) == pytest.approx(2 * 134_515_008 * 2 / 8e13 + 30 * LAYER * 2 / root.grpo.micro_batch_tokens)
    assert hardware(case("paper", "", "vllm")[0], gpu=True).sampling_layer == GRAPH_LAYER


def test_a_core_waits_for_arithmetic_alone() -> None:
    root = load_root()
    model = architecture_of(root.policy)
    assert hardware(root, gpu=False) == CORE
    assert sampling(root, model, False, Lengths(20, 10, 24), 1) == pytest.approx(2 * model.parameters * 3 / 1e10)


def test_processes_share_a_step_but_not_the_wait_for_a_layer() -> None:
    one, four = (load_root(overrides=f"trainer.nproc={n} engine=transformers") for n in (1, 4))
    assert rows_of_a_step(one) == 4 * rows_of_a_step(four) == 256
    model, lengths = architecture_of(one.policy), Lengths(0, 24, 24)
    arithmetic = 2 * model.parameters / hardware(one, gpu=True).sample
    waits = [sampling(root, model, True, lengths, rows_of_a_step(root)) - arithmetic for root in (one, four)]
    assert waits[1] == pytest.approx(4 * waits[0])
