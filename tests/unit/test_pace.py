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


def test_a_small_model_waits_for_its_layers_and_a_large_one_for_arithmetic() -> None:
    """By hand: 30 layers x 6 tokens x 1.2 ms over 10 rows of 3 tokens; 8 operations a parameter and token on 8e13 a second."""
    root, small = case("smollm2_chain_sum", "policy.dtype=bfloat16", "transformers")
    assert sampling(root, small, True, Lengths(0, 3, 6), 10) == pytest.approx(30 * 6 * LAYER / 30)
    assert scoring(root, small, True, Lengths(0, 3, 6), 0) == pytest.approx(30 * LAYER / root.grpo.micro_batch_tokens)
    root, large = case("paper", "", "vllm")
    assert scoring(root, large, True, Lengths(100, 100, 100), 1) == pytest.approx(8 * large.parameters * 2 / 8e13)
    assert hardware(root, gpu=True).sampling_layer == GRAPH_LAYER


def test_a_core_waits_for_arithmetic_alone() -> None:
    root = load_root()
    model = architecture_of(root.policy)
    assert hardware(root, gpu=False) == CORE
    assert sampling(root, model, False, Lengths(20, 10, 24), 1) == pytest.approx(2 * model.parameters * 3 / 1e10)


def test_processes_share_a_step_but_not_the_wait_for_a_layer() -> None:
    one, four = (load_root(overrides=f"trainer.nproc={n} engine=transformers") for n in (1, 4))
    assert rows_of_a_step(one) == 4 * rows_of_a_step(four) == 256
    model, lengths = architecture_of(one.policy), Lengths(0, 24, 24)
    assert sampling(four, model, True, lengths, rows_of_a_step(four)) == 4 * sampling(one, model, True, lengths, rows_of_a_step(one))
