"""What stages ask a scheduler for, from the configuration and the policy's size alone."""

import subprocess
import sys
from dataclasses import replace

from npo_pipeline.configuration.compose import load_root
from npo_pipeline.planning.resources import LIGHT, MOST_MIN, UNKNOWN_MB, Resources, stage_device, stage_resources, wants_gpu


def asked(experiment: str, overrides: str = "", device: str = "cpu", guide_jobs: int = 1) -> dict[str, Resources]:
    return stage_resources(load_root(experiment, overrides), device, guide_jobs)


def test_a_tiny_policy_asks_for_no_gpu_unless_told() -> None:
    root = load_root("default")
    assert not wants_gpu(root, "auto"), "whatever this machine has"
    assert {stage.gpu for stage in asked("default").values()} == {0}
    assert {stage.gpu for stage in asked("default", device="cuda").values()} == {1}
    assert (stage_device(root, "auto"), stage_device(root, "cuda")) == ("cpu", "cuda")
    assert stage_device(load_root("smollm2_gsm8k"), "auto") == "auto", "what torch sees"


def test_a_policy_without_a_cold_start_is_prepared_without_a_gpu() -> None:
    assert load_root("smollm2_gsm8k").policy.cold_start.steps == 0
    assert asked("smollm2_gsm8k", device="cuda")["prepare"].gpu == 0
    assert asked("smollm2_chain_sum", device="cuda")["prepare"].gpu == 1


def test_a_policy_of_size_asks_for_a_gpu_where_there_is_one() -> None:
    root = load_root("smollm2_gsm8k")
    assert not wants_gpu(root, "cpu")
    assert wants_gpu(root, "cuda")


def test_memory_holds_the_policy() -> None:
    tiny, smollm2 = asked("default"), asked("smollm2_gsm8k")
    assert 2000 < tiny["probe"].mem_mb < 4000, "it was seen to take 460 MB"
    parameters = 134_515_008
    assert smollm2["probe"].mem_mb * 2**20 > 16 * parameters, "weights, gradients and two moments"
    assert 4 * parameters < smollm2["evaluate"].mem_mb * 2**20 < smollm2["probe"].mem_mb * 2**20
    paper = asked("paper", device="cuda")
    assert paper["probe"].mem_mb > 12 * 8_767_123_696 / 2**20, "a trainer state on its way to the disk"
    assert paper["prepare"].mem_mb > 2 * 8_767_123_696 / 2**20


def test_walltime_follows_the_work_and_ends_at_a_day() -> None:
    short, long = (asked("default", f"probe.steps={steps}")["probe"].runtime for steps in (120, 1200))
    assert 5 * short < long <= MOST_MIN
    one, four = (asked("smollm2_chain_sum", guide_jobs=jobs)["guide_job"].runtime for jobs in (1, 4))
    assert four < one
    assert asked("paper", device="cpu")["probe"].runtime == MOST_MIN


def test_every_run_of_every_round_has_an_answer() -> None:
    stages = asked("default", "method=[npo,luffy,grpo_long,resample] rounds=2")
    assert {"npo", "luffy", "grpo_long", "resample", "round-2/npo", "demonstrate", "measure"} <= stages.keys()
    assert stages["grpo_long"].runtime > stages["npo"].runtime, "2.5 times the steps"


def test_a_model_that_nobody_knows_gets_much() -> None:
    stages = asked("smollm2_gsm8k", "policy=hf policy.path=somebody/unheard-of", device="cuda")
    assert stages["probe"] == replace(stages["probe"], mem_mb=UNKNOWN_MB, runtime=MOST_MIN, gpu=1)
    assert stages["prepare"] == replace(LIGHT, mem_mb=UNKNOWN_MB)


def test_no_torch_is_imported() -> None:
    command = "import sys, npo_pipeline.planning.resources, npo_pipeline.cli.failures; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", command]).returncode == 0


def test_more_processes_ask_for_more_gpus_and_less_time() -> None:
    one, eight = (
        asked("paper", f"grpo.prompts_per_step=1 grpo.group_size=4 trainer.nproc={n} trainer.nodes={nodes}", "cuda")
        for n, nodes in ((1, 1), (4, 2))
    )
    assert (one["probe"].gpu, eight["probe"].gpu, eight["guide_job"].gpu) == (1, 8, 1)
    assert eight["probe"].cpus_per_task == 4 * one["probe"].cpus_per_task, "of each node"
    assert eight["probe"].runtime < one["probe"].runtime
