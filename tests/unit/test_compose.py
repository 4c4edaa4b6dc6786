"""Every shipped configuration composes, and every wrong one is one line that names the key."""

from pathlib import Path

import pytest
from stage_schemas import SCHEMAS

from npo_pipeline.configuration import settings as s
from npo_pipeline.configuration import stages as c
from npo_pipeline.configuration.compose import CONF, load_root, load_stage, stage_configs, to_yaml
from npo_pipeline.errors import ConfigError

# What a shipped file leaves to the user, because only they know it.
LEFT_OPEN = {"task=dataset": "task.train=data/gsm8k/train.jsonl", "policy=hf": "policy.path=nobody/nothing"}


def shipped(group: str) -> list[str]:
    return sorted(file.stem for file in (CONF / group).glob("*.yaml"))


def choices() -> list[str]:
    groups = [folder.name for folder in CONF.iterdir() if folder.is_dir() and folder.name not in ("experiment", "method")]
    return sorted(f"{group}={name}" for group in groups for name in shipped(group))


def check_stages(root: s.RootConfig, folder: Path) -> None:
    """Each stage's file reads back as what was written, and passes the checks that a stage makes."""
    for name, values in stage_configs(root).items():
        path = folder / f"{name}.yaml"
        path.write_text(to_yaml(values), encoding="utf-8")
        assert c.as_values(load_stage(path, SCHEMAS[name.split("-")[0]])[0]) == values


@pytest.mark.parametrize("experiment", shipped("experiment"))
def test_every_experiment_composes(tmp_path: Path, experiment: str) -> None:
    root = load_root(experiment)
    assert root.name == experiment
    check_stages(root, tmp_path)


@pytest.mark.parametrize("method", shipped("method"))
def test_every_method_composes_under_its_own_name(tmp_path: Path, method: str) -> None:
    root = load_root(overrides=[f"method=[{method}]", *(["task=gsm8k"] if method == "hint" else [])])
    assert list(root.method) == [method]
    check_stages(root, tmp_path)


@pytest.mark.parametrize("choice", choices())
def test_every_other_shipped_choice_composes(tmp_path: Path, choice: str) -> None:
    check_stages(load_root(overrides=[choice, *LEFT_OPEN.get(choice, "").split()]), tmp_path)


WRONG = [
    ("grpo.group_size=1", "grpo.group_size=1: expected at least 2"),
    ("task=1", "overrides='task=1': Config group override must be a string or a list. Got int; expected the name of a file"),
    ("evaluate.ks=[[],4]", r"evaluate.ks\[0\]=\[\]: expected int, as the others of evaluate.ks"),
    ("grpo.learning_rat=1", "grpo.learning_rat: no such key; did you mean grpo.learning_rate?"),
    ("+grpo.learning_rat=1", "grpo.learning_rat: no such key; did you mean grpo.learning_rate?"),
    ("probe.steps=many", "probe.steps: Value 'many'"),
    ("probe.steps=0", "probe.steps=0: expected from 1 to 10,000,000"),
    ("probe.steps=null", "probe.steps: "),
    ("task=nope", "task=nope: no such file in .*; there are chain_sum, "),
    ("policy=nope", "policy=nope: no such file in .*; there are .*tiny"),
    ("policy=tiny_vl policy.vision.max_pixels=10", "policy.vision.max_pixels=10: expected at least policy.vision.min_pixels=1024"),
    ("policy=tiny_vl policy.vision.min_pixels=null", "policy.vision.min_pixels=None: expected a number"),
    ("policy=tiny_vl policy.vision.scratch=null", "policy.vision.scratch=None: expected sizes, as in conf/policy/tiny_vl.yaml"),
    ("policy=tiny_vl policy.vision.scratch.heads=3", "policy.vision.scratch.hidden_size=64: expected a multiple of 4 times"),
    ("policy=tiny_vl method=[luffy]", "method.luffy.demonstrations.policy='teacher': expected a model directory"),
    ("task.image_column=image", "task.image_column='image': expected null, since reasoning-gym has no images"),
    ("method=[nope]", "method=nope: no such file in .*; there are autonpo"),
    ("method=[]", r"method=\[\]: expected at least one method, .*; GRPO alone: --target results/default/seed-0/evaluation/probe.json"),
    ("task=dataset", "task.train=None: expected a .jsonl"),
    (
        "task=dataset task.train=a.jsonl task.verifier.kind=reasoning_gym",
        "task.verifier.kind='reasoning_gym': expected exact, math",
    ),
    ("task.prompt.template=hello", "task.prompt.template='hello': expected a template that holds {question}"),
    ("task.train_size=8", "task.train_size=8: expected at least grpo.prompts_per_step=32"),
    ("task.eval_size=0", "task.eval_size=0: expected at least 1"),
    ("task.verifier.extract=guess", "task.verifier.extract='guess': expected one of auto"),
    ("policy=hf", "policy.path=None: expected a model directory or hub name"),
    ("policy=hf policy.path=./missing", "policy.path='missing': expected a directory that exists"),
    ("policy.dtype=int8", "policy.dtype='int8': expected one of float32, bfloat16"),
    ("engine.name=sglang", "engine.name='sglang': expected one of auto, transformers, vllm"),
    ("engine=transformers engine.name=vllm", "engine.vllm=None: expected its settings; choose it with engine=vllm"),
    ("engine=vllm engine.vllm.max_model_len=0", "engine.vllm.max_model_len=0: expected at least 1"),
    (
        "engine=vllm engine.vllm.gpu_memory_utilization=40",
        r"engine.vllm.gpu_memory_utilization=40.0: expected a share of the GPU, in \(0, 1",
    ),
    ("engine=vllm evaluate.temperature=0.001", "evaluate.temperature=0.001: expected at least 0.01 with engine=vllm"),
    ("engine.check_every=-1", r"engine.check_every=-1: expected 0 \(never\) or more"),
    ("engine.check_tolerance=0", "engine.check_tolerance=0.0: expected more than 0, or null"),
    ("grpo.engine_correction_cap=0", r"grpo.engine_correction_cap=0.0: expected more than 0 \(2 is usual\), or null"),
    ("sampling.temperature=0", "sampling.temperature=0.0: expected more than 0"),
    ("sampling.top_p=1.5", r"sampling.top_p=1.5: expected in \(0, 1\]"),
    ("seeds=[]", r"seeds=\[\]: expected a list"),
    ("seeds=[1,1]", r"seeds=\[1, 1\]: expected a list of different"),
    ("seeds=[-1]", r"seeds=\[-1\]: expected numbers from 0"),
    ("seeds=[a]", r"seeds\[0\]: Value 'a'"),
    ("name=../x", "name='../x': expected a plain name"),
    ("evaluate.ks=[99]", r"evaluate.ks=\[99\]: expected numbers from 1 to evaluate.samples"),
    ("guidance.every=7", "guidance.every=7: expected a multiple of probe.checkpoint_every=5"),
    ("guidance.every=1.5", "guidance.every=1.5: a fraction of the run must lie between 0.0 and 1.0"),
    ("guidance.lookback=soon", "guidance.lookback='soon': expected a whole number of steps"),
    ("guidance.gate=1", r"guidance.gate=1.0: expected in \[0, 1\)"),
    ("guidance.variance.estimator=x", "guidance.variance.estimator='x': expected one of exp_kl"),
    ("method.npo.gate=2", r"method.npo.gate=2.0: expected in \[0, 1\)"),
    ("method.npo.kind=x", "method.npo.kind='x': expected one of autonpo, demonstrations, ema, hint, manual"),
    ("method.npo.windows=[]", r"method.npo.windows=\[\]: expected at least one window"),
    (
        "method=[npo_rolling] method.npo_rolling.rolling.distance=1.0",
        r"method.npo_rolling.rolling.distance=200: with guide checkpoints at 50",
    ),
    ("method=[luffy] method.luffy.demonstrations.place=x", "method.luffy.demonstrations.place='x': expected one of replace, append"),
    ("method=[luffy] method.luffy.demonstrations.ratio=x", "method.luffy.demonstrations.ratio='x': expected one of policy, recorded"),
    (
        "method=[luffy] method.luffy.demonstrations.policy=a.jsonl method.luffy.demonstrations.ratio=recorded",
        "method.luffy.demonstrations.ratio='recorded': expected policy or shaped",
    ),
    ("method=[luffy] +method.luffy.grpo.clip=1", "method.luffy.grpo.clip=1: expected a key of grpo"),
    ("method=[luffy] policy.teacher=null", "method.luffy.demonstrations.policy='teacher': expected a model directory"),
    ("method=[resample] method.resample.resample=null", "method.resample.resample=None: expected its settings"),
    ("grpo.advantage_eps=-1", "grpo.advantage_eps=-1.0: expected 0 or more"),
    ("grpo.warmup_steps=-5", "grpo.warmup_steps=-5: expected 0 or more"),
    ("grpo.weight_decay=-1", "grpo.weight_decay=-1.0: expected 0 or more"),
    ("grpo.adam_betas=[2,0.9]", r"grpo.adam_betas=\[2.0, 0.9\]: expected two numbers in \[0, 1\)"),
    ("method.autonpo.autonpo.ema=5", r"method.autonpo.autonpo.ema=5.0: expected in \(0, 1\]"),
    ("method.autonpo.autonpo.min_coverage=5", r"method.autonpo.autonpo.min_coverage=5.0: expected in \[0, 1\]"),
    (
        "method=[autonpo_online] method.autonpo_online.online.min_prompts=0",
        "method.autonpo_online.online.min_prompts=0: expected at least 1",
    ),
    ("method=[resample] method.resample.resample.samples=0", "method.resample.resample.samples=0: expected at least 1"),
    (
        "method=[resample] method.resample.resample.from_step=60 method.resample.resample.to_step=50",
        r"method.resample.resample: \[60, 50\) is empty",
    ),
    ("method=[exgrpo] method.exgrpo.replay.share=2", r"method.exgrpo.replay.share=2.0: expected in \(0, 1\]"),
    ("method=[exgrpo] method.exgrpo.replay.keep=0", "method.exgrpo.replay.keep=0: expected at least 1"),
    ("method=[exgrpo] method.exgrpo.replay.start_accuracy=2", r"method.exgrpo.replay.start_accuracy=2.0: expected in \[0, 1\]"),
    ("method.npo.length=0.5", "method.npo.length=0.5: expected at least 1, since its schedule is laid out over the probe's steps"),
    ("method=[grpo_long] method.grpo_long.length=0.001", "method.grpo_long.length=0.001: expected at least one step of probe.steps=200"),
    ("+method.npo.grpo.prompts_per_step=3", "method.npo.grpo.prompts_per_step=3: expected grpo.prompts_per_step=32"),
    ("+method.rlep.length=2", r"method.rlep: has settings, but is not .*; expected method=\[npo_within,npo,autonpo,rlep\]"),
    (
        "comparison.every=0.25 probe.steps=50 guided.checkpoint_every=12 method=[grpo_long]",
        "comparison.every=0.25: expected a multiple of 60, ",
    ),
    ("comparison.every=15", "comparison.every=15: expected a multiple of 10, the steps at which all runs keep a checkpoint"),
    ("comparison.every=0", "comparison.every=0: expected a multiple of 10"),
    ("method.rlep.length=2", r"method.rlep: has settings, but is not .*; expected method=\[npo_within,npo,autonpo,rlep\]"),
    ("method.npo.lenght=2", r"method.npo.lenght: no such key; did you mean method.npo.length\?"),
    ("rounds=0", "rounds=0: expected from 1 to 100"),
    ("rounds=99999999999999999999", r"rounds=9+: expected a number below 2\*\*63 in size"),
    ("probe.steps=99999999999", "probe.steps=99999999999: expected from 1 to 10,000,000"),
    ("method=[1]", r"overrides='method=\[1\]': .*; expected the name of a file in conf/, as in task=chain_sum or method=\[npo\]"),
    ("method={npo:1}", r"method.npo=1: expected settings; methods are chosen by method=\[npo,autonpo\]"),
    ("method.npo=1", "method.npo=1: expected settings"),
    ("method.npo.length=inf", "method.npo.length=inf: expected a finite number"),
    ("method.autonpo.autonpo.min_gain=nan", "method.autonpo.autonpo.min_gain=nan: expected a finite number"),
    ("sampling.temperature=inf", "sampling.temperature=inf: expected a finite number"),
    ("grpo.max_grad_norm=nan", "grpo.max_grad_norm=nan: expected a finite number"),
    ("method.npo.grpo.epochs=1.5", "method.npo.grpo.epochs: Value '1.5'"),
    ("method.npo.grpo.epochs=0", "method.npo.grpo.epochs=0: expected at least 1"),
    ("method.npo.grpo.learning_rate=null", "method.npo.grpo.learning_rate: Incompatible value 'None'"),
    ("method.npo.grpo.advantage=1", "method.npo.grpo.advantage='1': expected one of std, mean"),
    ("seeds=0,1", r"seeds=0,1: several values; expected one, or a list in brackets: seeds=\[0,1\]"),
    ("method=npo,autonpo", r"method=npo,autonpo: several values; .*: method=\[npo,autonpo\]"),
    ("report_to=tensorboard", "report_to: expected a list in brackets"),
    ("task=", "task=: no such file in .*; there are chain_sum"),
    ("'report.title=${'", r"Error merging override .*write \\\$\{ for the signs themselves"),
    ("policy.scratch.heads=3", "policy.scratch.heads=3: expected a multiple of policy.scratch.key_value_heads=2"),
    ("policy.scratch.head_dim=31", "policy.scratch.head_dim=31: expected an even number"),
    ("policy.scratch.layers=0", "policy.scratch.layers=0: expected from 1 to"),
    ("policy.scratch.vocab_size=1", "policy.scratch.vocab_size=1: expected from 258"),
    ("policy.cold_start.batch_size=0", "policy.cold_start.batch_size=0: expected at least 1"),
    ("policy.cold_start.learning_rate=-1", "policy.cold_start.learning_rate=-1.0: expected more than 0"),
    ("policy.cold_start.learning_rate=nan", "policy.cold_start.learning_rate=nan: expected a finite number"),
    ("policy.cold_start.steps=-1", "policy.cold_start.steps=-1: expected 0 or more"),
    ("comparison.seeds=[]", r"comparison.seeds=\[\]: expected a list of different"),
    ("method.npo.windows=[{from_step:0,guide_step:30}]", r"method.npo.windows\[0\].to_step: missing"),
    ("method.npo.windows=[{from_step:0,to_stp:9,guide_step:30}]", "to_stp: no such key; did you mean to_step?"),
    ("method.npo.windows=[{from_step:0,to_step:999,guide_step:999}]", r"method.npo.windows\[0\].to_step=999: past the last checkpoint"),
    ("method.npo.windows=[{from_step:0,to_step:30,guide_step:31}]", r"method.npo.windows\[0\].guide_step=31: no such guide checkpoint"),
    ("method.autonpo.autonpo=null", "method.autonpo.autonpo=None: expected the settings of the trigger"),
    ("report.title='a", "overrides=.*No closing quotation; every quote needs its partner"),
    ("a b c", "overrides|Error parsing override 'a'"),
]


@pytest.mark.parametrize(("overrides", "message"), WRONG)
def test_a_wrong_override_is_one_line_that_names_the_key(overrides: str, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{message}") as caught:
        stage_configs(load_root(overrides=overrides))
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 78


@pytest.mark.parametrize("methods", [["npo"], ["exgrpo"], ["npo_early", "autonpo"]])
def test_the_papers_recipe_takes_any_list_of_methods(methods: list[str]) -> None:
    """It tunes the windows of two methods, also where these are not asked for."""
    assert list(load_root("paper", f"method=[{','.join(methods)}]").method) == methods


@pytest.mark.parametrize(
    ("experiment", "words", "expected"),
    [
        ("default", "", 2e-4),
        ("default", "policy=hf policy.path=nobody/nothing", 1e-6),
        ("default", "policy=smollm2", 1e-6),
        ("default", "policy=hf policy.path=nobody/nothing grpo.learning_rate=3e-6", 3e-6),
        ("smollm2_chain_sum", "", 1e-5),
    ],
)
def test_a_real_model_brings_its_learning_rate_and_what_is_given_wins(experiment: str, words: str, expected: float) -> None:
    assert load_root(experiment, words).grpo.learning_rate == expected


def test_a_longer_run_has_demonstrations_for_all_its_steps() -> None:
    stages = stage_configs(load_root(overrides="method=[rlep] method.rlep.length=2"))
    assert (stages["demonstrate-rlep"]["steps"], stages["guided-rlep"]["steps"], stages["probe"]["steps"]) == (400, 400, 200)


def test_an_unknown_experiment_lists_the_known() -> None:
    with pytest.raises(ConfigError, match=r"^experiment=defualt: no such file in .*; there are chain_sum, default"):
        load_root("defualt")


def test_several_initial_policies_are_told_to_the_stages_of_a_seed() -> None:
    plain, several = stage_configs(load_root()), stage_configs(load_root(overrides=["policy.cold_starts=3", "seeds=[0,1,2,3]"]))
    assert "cold_starts" not in to_yaml(plain)
    assert stage_configs(load_root(overrides=["policy.cold_starts=1"])) == plain
    assert {name for name, values in several.items() if values.get("cold_starts") != 3} == {"average"}
    assert "cold_starts" not in several["prepare"]["policy"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("policy.cold_starts=0", "policy.cold_starts=0: expected at least 1, or null"),
        ("policy=hf policy.path=nobody/nothing policy.cold_starts=2", "policy.cold_starts=2: expected 1 or null: policy.source=pretrained"),
    ],
)
def test_initial_policies_that_cannot_differ_are_refused(words: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_root(overrides=words)


def test_which_sample_a_guide_replaces_is_a_matter_of_the_runs_that_replace_one() -> None:
    methods = "method=[npo,autonpo_online,resample,npo_ema,luffy,exgrpo,rlep,grpo_long]"
    plain, wrong = stage_configs(load_root(overrides=methods)), stage_configs(load_root(overrides=f"{methods} guidance.replace=wrong"))
    changed = {name for name in plain if plain[name] != wrong[name]}
    assert changed == {f"guided-{name}" for name in ("npo", "autonpo_online", "resample", "npo_ema", "luffy")}
    assert wrong["guided-npo"]["replace"] == "wrong"
    with pytest.raises(ConfigError, match=r"guidance\.replace='right': expected one of last, wrong"):
        load_root(overrides="guidance.replace=right")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("method=[hint]", "task.source='reasoning_gym': expected dataset, since the method hint shows worked solutions"),
        ("method=[hint] task=gsm8k method.hint.hint.shares=[0.5,0.25]", r"method.hint.hint.shares=\[0.5, 0.25\]: expected rising shares"),
        ("method=[hint] task=gsm8k method.hint.hint.template='{question}'", "method.hint.hint.template='{question}': expected a text with"),
        ("method=[hint] task=gsm8k method.hint.hint.loss_on=both", "method.hint.hint.loss_on='both': expected one of hinted, question"),
    ],
)
def test_hints_that_cannot_be_given_are_refused(words: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_root(overrides=words)


def test_only_a_run_that_shows_solutions_knows_the_task() -> None:
    stages = stage_configs(load_root(overrides="task=gsm8k method=[hint,resample]"))
    assert stages["guided-hint"]["task"]["train"] == "data/gsm8k/train.jsonl"
    assert "task" not in stages["guided-resample"]
