"""Value checks of the configuration: what would only fail later, or fail to mean anything, is refused here.

Each check names the key, what was found and what is expected. Nothing heavy is imported.
"""

from collections.abc import Callable
from dataclasses import replace
from math import inf
from typing import Any, get_args

from npo_pipeline import config as c
from npo_pipeline import settings as s
from npo_pipeline.policy_checks import check_lora, check_policy
from npo_pipeline.records import Ratio
from npo_pipeline.require import one_of, require

METHOD_NAME_RESERVED = {"probe", "guide", "evaluation", "measure", "initial"}


def check_root(root: s.RootConfig) -> None:
    """Raises ConfigError for the first value that cannot work."""
    require(bool(root.name) and "/" not in root.name and not root.name.startswith("."), "name", root.name, "a plain folder name")
    require(bool(root.seeds) and len(set(root.seeds)) == len(root.seeds), "seeds", root.seeds, "a list of different whole numbers")
    require(root.rounds >= 1, "rounds", root.rounds, "at least 1")
    require(min(root.seeds) >= 0, "seeds", root.seeds, "numbers from 0 up")
    check_task(root.task)
    check_policy(root.policy)
    check_engine(root.engine)
    check_sampling(root.sampling)
    check_coldest(root)
    check_grpo(root.grpo)
    require(root.probe.steps >= 1, "probe.steps", root.probe.steps, "at least 1")
    every = root.probe.checkpoint_every
    require(every >= 1, "probe.checkpoint_every", every, "at least 1")
    require(root.probe.key_every >= 1, "probe.key_every", root.probe.key_every, "at least 1")
    check_guidance(root.guidance)
    compared = root.comparison
    different = len(set(compared.seeds)) == len(compared.seeds) > 0
    require(different, "comparison.seeds", compared.seeds, "a list of different whole numbers")
    require(bool(compared.methods), "comparison.methods", [], "at least one method")
    require(compared.resamples >= 100, "comparison.resamples", compared.resamples, "at least 100")
    require(0 < compared.confidence < 1, "comparison.confidence", compared.confidence, "in (0, 1)")
    check_measure(root.measure)
    require(bool(root.method), "method", [], "at least one method, for example method=[npo]")
    for name, method in root.method.items():
        check_method(name, method)
        check_grpo(merge_grpo(root.grpo, method.grpo, f"method.{name}.grpo"))
        wants_teacher = method.demonstrations is not None and method.demonstrations.policy == "teacher"
        require(
            not wants_teacher or (root.policy.teacher is not None and root.policy.source == "scratch"),
            f"method.{name}.demonstrations.policy",
            "teacher",
            "a model directory, a hub name or a trajectory file, since this policy has no policy.teacher (only policy=tiny makes one)",
        )
    check_evaluate(root.evaluate)
    require(
        not root.evaluate.benchmarks or root.task.verifier.kind != "reasoning_gym",
        "task.verifier.kind",
        root.task.verifier.kind,
        "exact or math, since it judges evaluate.benchmarks too",
    )
    size = root.task.train_size
    batch = root.grpo.prompts_per_step
    require(
        size is None or size >= batch,
        "task.train_size",
        size,
        f"at least grpo.prompts_per_step={batch}, so that a step has different problems",
    )


def check_task(task: s.TaskConfig) -> None:
    one_of("task.source", task.source, ("reasoning_gym", "dataset", "easy_vqa"))
    one_of("task.prompt.style", task.prompt.style, ("auto", "chat", "plain"))
    require("{question}" in task.prompt.template, "task.prompt.template", task.prompt.template, "a template that holds {question}")
    check_verifier(task.verifier, "task.verifier")
    for key, size in (("train_size", task.train_size), ("eval_size", task.eval_size)):
        require(size is None or size >= 1, f"task.{key}", size, "at least 1, or null for all")
    if task.source == "reasoning_gym":
        for key, size in (("train_size", task.train_size), ("eval_size", task.eval_size)):
            require(size is not None, f"task.{key}", size, "a number of problems to generate")
        require(task.image_column is None, "task.image_column", task.image_column, "null, since reasoning-gym has no images")
    else:
        own = task.source == "easy_vqa"
        require(own or bool(task.train), "task.train", task.train, "a .jsonl or .parquet file, a saved datasets folder, or a hub name")
        require(
            task.verifier.kind != "reasoning_gym", "task.verifier.kind", task.verifier.kind, "exact or math, since the task is a dataset"
        )


def check_verifier(verifier: s.VerifierConfig, key: str = "verifier") -> None:
    one_of(f"{key}.kind", verifier.kind, ("exact", "math", "reasoning_gym"))
    one_of(f"{key}.extract", verifier.extract, s.EXTRACTORS)
    require(verifier.timeout_seconds > 0, f"{key}.timeout_seconds", verifier.timeout_seconds, "more than 0")


def check_engine(engine: s.EngineConfig) -> None:
    one_of("engine.name", engine.name, ("transformers", "vllm"))
    require(engine.max_batch >= 1, "engine.max_batch", engine.max_batch, "at least 1")
    require(engine.check_every >= 0, "engine.check_every", engine.check_every, "0 (never) or more")
    tolerance = engine.check_tolerance
    require(tolerance is None or tolerance > 0, "engine.check_tolerance", tolerance, "more than 0, or null")
    if engine.name == "vllm":
        check_vllm(engine.vllm)


def check_vllm(vllm: s.VllmConfig | None) -> None:
    require(vllm is not None, "engine.vllm", vllm, "its settings; choose it with engine=vllm")
    assert vllm is not None
    for key in ("max_model_len", "tensor_parallel_size"):
        require(getattr(vllm, key) >= 1, f"engine.vllm.{key}", getattr(vllm, key), "at least 1")
    share = vllm.gpu_memory_utilization
    require(0 < share <= 1, "engine.vllm.gpu_memory_utilization", share, "a share of the GPU, in (0, 1]")
    require(vllm.cpu_cache_gib > 0, "engine.vllm.cpu_cache_gib", vllm.cpu_cache_gib, "more than 0")


def check_coldest(owner: Any) -> None:
    """vLLM samples at 0.01 what is to be sampled colder. `owner`: whatever has an engine and the temperatures it is used at."""
    engine = getattr(owner, "engine", None)
    for key in ("sampling", "evaluate") if engine and engine.name == "vllm" else ():
        temperature = getattr(getattr(owner, key, None), "temperature", 1.0)
        require(temperature >= 0.01, f"{key}.temperature", temperature, "at least 0.01 with engine=vllm")


def check_sampling(sampling: s.SamplingConfig) -> None:
    require(sampling.temperature > 0, "sampling.temperature", sampling.temperature, "more than 0")
    require(0 < sampling.top_p <= 1, "sampling.top_p", sampling.top_p, "in (0, 1]")
    require(sampling.top_k >= 0, "sampling.top_k", sampling.top_k, "0 (off) or more")
    require(sampling.max_new_tokens >= 1, "sampling.max_new_tokens", sampling.max_new_tokens, "at least 1")


def check_grpo(grpo: s.GrpoConfig) -> None:
    require(
        grpo.group_size >= 2, "grpo.group_size", grpo.group_size, "at least 2: the advantage of a response is measured against its group"
    )
    for key in ("prompts_per_step", "epochs", "minibatches", "micro_batch_tokens"):
        require(getattr(grpo, key) >= 1, f"grpo.{key}", getattr(grpo, key), "at least 1")
    rows = grpo.prompts_per_step * grpo.group_size
    require(grpo.minibatches <= rows, "grpo.minibatches", grpo.minibatches, f"at most the {rows} responses of a step")
    require(0 < grpo.learning_rate < inf, "grpo.learning_rate", grpo.learning_rate, "more than 0, and finite")
    require(grpo.max_grad_norm > 0, "grpo.max_grad_norm", grpo.max_grad_norm, "more than 0")
    require(0 < grpo.clip_low <= 1, "grpo.clip_low", grpo.clip_low, "in (0, 1]")
    require(grpo.entropy_coef >= 0, "grpo.entropy_coef", grpo.entropy_coef, "0 or more")
    require(grpo.clip_high > 0, "grpo.clip_high", grpo.clip_high, "more than 0")
    require(grpo.kl_coef >= 0, "grpo.kl_coef", grpo.kl_coef, "0 or more")
    require(len(grpo.adam_betas) == 2, "grpo.adam_betas", grpo.adam_betas, "two numbers")
    cap = grpo.engine_correction_cap
    require(cap is None or cap > 0, "grpo.engine_correction_cap", cap, "more than 0 (2 is usual), or null")
    one_of("grpo.advantage", grpo.advantage, ("std", "mean"))
    one_of("grpo.aggregation", grpo.aggregation, ("response", "constant"))


def check_guidance(guidance: s.GuidanceConfig) -> None:
    require(0 <= guidance.gate < 1, "guidance.gate", guidance.gate, "in [0, 1)")
    require(guidance.samples >= 1, "guidance.samples", guidance.samples, "at least 1")
    require(guidance.shard_rows >= 1, "guidance.shard_rows", guidance.shard_rows, "at least 1")
    check_variance(guidance.variance, "guidance.variance")


def check_variance(variance: s.VarianceConfig, key: str = "variance") -> None:
    one_of(f"{key}.estimator", variance.estimator, ("exp_kl", "chi2", "ess"))
    require(variance.beta > 0, f"{key}.beta", variance.beta, "more than 0")


def check_method(name: str, method: s.MethodConfig) -> None:
    key = f"method.{name}"
    require(name not in METHOD_NAME_RESERVED and "/" not in name, key, name, "a name that is not a folder of the pipeline's own")
    one_of(f"{key}.kind", method.kind, s.KINDS)
    require(0 <= method.gate < 1, f"{key}.gate", method.gate, "in [0, 1)")
    require(method.length > 0, f"{key}.length", method.length, "more than 0, a multiple of probe.steps")
    for part in PARTS_OF_KIND.get(method.kind, ()):
        require(
            bool(getattr(method, part)),
            f"{key}.{part}",
            getattr(method, part),
            f"{EXPECTED.get(part, 'its settings')} (kind {method.kind})",
        )
    if method.demonstrations:
        check_demonstrations(f"{key}.demonstrations", method.demonstrations)


EXPECTED = {
    "windows": "at least one window {from_step, to_step, guide_step}",
    "autonpo": "the settings of the trigger, as in conf/method/autonpo.yaml",
}
# What each kind of method cannot do without.
PARTS_OF_KIND = {
    "manual": ("windows",),
    "autonpo": ("autonpo",),
    "rolling": ("rolling",),
    "online": ("autonpo", "online"),
    "resample": ("resample",),
    "replay": ("replay",),
    "demonstrations": ("demonstrations",),
}


def check_demonstrations(key: str, settings: s.DemonstrationsConfig) -> None:
    one_of(f"{key}.place", settings.place, ("replace", "append"))
    one_of(f"{key}.ratio", settings.ratio, get_args(Ratio))
    own = settings.policy in ("probe", "teacher")  # others have log-probs of other tokens, or none
    require(own or "recorded" not in settings.ratio, f"{key}.ratio", settings.ratio, "policy or shaped, since its log-probs are not known")
    require(1 <= settings.wanted <= settings.samples, f"{key}.wanted", settings.wanted, f"from 1 to {key}.samples={settings.samples}")
    require(settings.temperature > 0, f"{key}.temperature", settings.temperature, "more than 0")
    require(0 < settings.top_p <= 1, f"{key}.top_p", settings.top_p, "in (0, 1]")


def merge_grpo(grpo: s.GrpoConfig, changes: dict[str, Any], key: str = "grpo") -> s.GrpoConfig:
    """`grpo` with a method's own settings. Raises ConfigError naming a key that does not exist."""
    known = vars(grpo)
    for name in changes:
        require(name in known, f"{key}.{name}", changes[name], "a key of grpo: " + ", ".join(known))
    return replace(grpo, **changes)


def check_evaluate(evaluate: s.EvaluateConfig) -> None:
    require(evaluate.samples >= 1, "evaluate.samples", evaluate.samples, "at least 1")
    require(
        bool(evaluate.ks) and all(1 <= k <= evaluate.samples for k in evaluate.ks),
        "evaluate.ks",
        evaluate.ks,
        f"numbers from 1 to evaluate.samples={evaluate.samples}",
    )
    require(evaluate.temperature > 0, "evaluate.temperature", evaluate.temperature, "more than 0")
    require(evaluate.bootstrap >= 100, "evaluate.bootstrap", evaluate.bootstrap, "at least 100")
    require(0 < evaluate.confidence < 1, "evaluate.confidence", evaluate.confidence, "in (0, 1)")
    for name, benchmark in evaluate.benchmarks.items():
        key = f"evaluate.benchmarks.{name}"
        require(bool(name) and "/" not in name and name not in ("train", "eval", "cold"), key, name, "a plain name, not that of a split")
        require(benchmark.data != "", f"{key}.data", "", "a .jsonl or .parquet file, a folder of a dataset, a hub name, or null: left out")
        require(benchmark.size is None or benchmark.size >= 1, f"{key}.size", benchmark.size, "at least 1, or null for all")


def check_measure(measure: s.MeasureConfig) -> None:
    for key in ("current_steps", "distances"):
        require(bool(getattr(measure, key)), f"measure.{key}", [], "at least one step, or fraction of the run")
    for key, least in (("problems", 2), ("tries", 1), ("repeats", 1), ("resamples", 100)):
        require(getattr(measure, key) >= least, f"measure.{key}", getattr(measure, key), f"at least {least}")
    require(0 < measure.confidence < 1, "measure.confidence", measure.confidence, "in (0, 1)")


# What a stage's own file holds whole, and its plain numbers: the same checks as for the configuration it was resolved from.
PARTS: dict[type, Callable[[Any], None]] = {
    s.TaskConfig: check_task,
    s.PolicyConfig: check_policy,
    s.EngineConfig: check_engine,
    s.SamplingConfig: check_sampling,
    s.GrpoConfig: check_grpo,
    s.LoraConfig: check_lora,
    s.VerifierConfig: check_verifier,
    s.VarianceConfig: check_variance,
    s.EvaluateConfig: check_evaluate,
    s.MeasureConfig: check_measure,
}
COUNTS = ("steps", "checkpoint_every", "key_every", "lookback", "samples", "shard_rows")


def check_stage(stage: Any) -> None:
    """Check a stage's resolved configuration, which a person may have edited. Raises ConfigError."""
    for key, value in vars(stage).items():
        if check := PARTS.get(type(value)):
            check(value)
        elif key in COUNTS:
            require(value >= 1, key, value, "at least 1")
        elif key == "dtype":
            one_of(key, value, ("float32", "bfloat16"))
        elif key in ("seeds", "methods", "guide_steps"):
            require(bool(value), key, value, "at least one")
    check_coldest(stage)
    if isinstance(stage, c.GuideStage | c.MeasureStage):
        require(0 <= stage.gate < 1, "gate", stage.gate, "in [0, 1)")
    if isinstance(stage, c.PlanStage):
        check_method(stage.name, stage.method)
        for i, window in enumerate(stage.method.windows):
            for key, step in vars(window).items():
                require(type(step) is int, f"method.windows[{i}].{key}", step, "a whole number of steps")
