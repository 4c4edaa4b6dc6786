"""From `conf/` and a user's overrides to one resolved configuration per stage.

Hydra composes once, when the Snakefile is parsed; the dataclasses of `npo_pipeline.configuration.settings` check keys and types, and
`npo_pipeline.configuration.checks` the values. Every error is one line that names the key. No torch here.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from antlr4.error.Errors import RecognitionException
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from npo_pipeline.configuration import settings as s
from npo_pipeline.configuration import stages as c
from npo_pipeline.configuration.adoption import with_adopted
from npo_pipeline.configuration.checks import check_root, merge_grpo
from npo_pipeline.configuration.checks.kinds import check_kinds
from npo_pipeline.configuration.engine import settle_engine
from npo_pipeline.configuration.hydra_errors import check_readable, key_error, no_such_file, override_error
from npo_pipeline.configuration.interpolation import resolved
from npo_pipeline.configuration.methods import typed_method
from npo_pipeline.configuration.overrides import check_texts, for_hydra, opened, split
from npo_pipeline.configuration.places import CONF, PROJECT, choices, own_conf
from npo_pipeline.configuration.reward_file import with_digest
from npo_pipeline.configuration.rules import by_rules
from npo_pipeline.configuration.stage_files import load_stage, to_yaml
from npo_pipeline.configuration.timeline import Timeline, guided_checkpoints, resolve_measure, resolve_timeline
from npo_pipeline.configuration.versions import VERSIONS
from npo_pipeline.configuration.windows import run_steps
from npo_pipeline.errors import ConfigError
from npo_pipeline.shown import one_line, short_repr

__all__ = [
    "CONF",
    "PROJECT",
    "VERSIONS",
    "later_rounds",
    "load_compared",
    "load_root",
    "load_stage",
    "several_starts",
    "stage_configs",
    "to_yaml",
]


def load_root(experiment: str = "default", overrides: str | Sequence[str] = (), conf: Path = CONF) -> s.RootConfig:
    """Compose, type-check and validate. `overrides` is a list, or one string as a shell would split it. Raises ConfigError."""
    words = split(overrides) if isinstance(overrides, str) else list(overrides)
    known = choices(conf, "method")
    composed = _compose(experiment, [opened(for_hydra(word), known) for word in words], conf)
    _drop_methods_not_chosen(composed, known, {word.split(".")[1] for word in words if word.lstrip("+").startswith("method.")})
    check_texts(OmegaConf.to_container(composed), s.RootConfig)
    try:
        composed = resolved(composed)
        schema = _schema(composed)
        schema.merge_with(composed)  # OmegaConf.merge would copy it first
        root = OmegaConf.to_object(schema)
    except OmegaConfBaseException as error:
        raise ConfigError(one_line(key_error(error))) from None
    assert isinstance(root, s.RootConfig)
    check_kinds(root)
    root = with_adopted(root)
    check_root(root)
    given = {name: benchmark for name, benchmark in root.evaluate.benchmarks.items() if benchmark.data is not None}
    return replace(root, evaluate=replace(root.evaluate, benchmarks=given))


def _schema(composed: DictConfig) -> DictConfig:
    """What the composed configuration is checked against: each method against its kind's settings. `method=[]` leaves no key."""
    schema, methods = OmegaConf.structured(s.RootConfig), composed.get("method", {})
    if isinstance(methods, DictConfig | dict):
        classes = {name: typed_method(f"method.{name!s}", given) for name, given in methods.items()}
        schema.method = {name: found for name, found in classes.items() if found}
    return schema


def load_compared(experiment: str, overrides: Sequence[str], root: s.RootConfig, conf: Path = CONF) -> s.RootConfig:
    """`root` with the methods of the comparison beside its own. Raises ConfigError, as a method may not fit the experiment."""
    names = list(dict.fromkeys([*root.method, *root.comparison.methods]))
    if unknown := [name for name in names if name not in choices(conf, "method")]:
        raise ConfigError(f"comparison.methods: {no_such_file('method', unknown[0], conf)}")
    words = [word for word in overrides if not word.startswith("method=")]
    return load_root(experiment, [*words, f"method=[{','.join(names)}]"], conf)


def stage_configs(root: s.RootConfig) -> dict[str, dict[str, Any]]:
    """The resolved configuration of every stage, by the name of its file below `config/` (without .yaml). Raises ConfigError.

    An engine that nobody has chosen yet (npo_pipeline.planning.engine) is that of a machine without a GPU.
    """
    root = replace(root, task=replace(root.task, verifier=by_rules(with_digest(root.task.verifier))))
    name = "transformers" if root.engine.name == "auto" else root.engine.name
    root = replace(root, engine=settle_engine(root.engine, name, gpu=False))
    time = resolve_timeline(root)
    shared: dict[str, Any] = {"sampling": root.sampling, "engine": root.engine, "verifier": root.task.verifier, "dtype": root.policy.dtype}
    run: dict[str, Any] = {"steps": time.steps, "key_every": root.probe.key_every, "grpo": root.grpo, "lora": root.policy.lora, **shared}
    averaged = True if time.average else None
    stages: dict[str, Any] = {
        "prepare": c.PrepareStage(VERSIONS["prepare"], root.task, replace(root.policy, teacher=None, lora=None, cold_starts=None)),
        "evaluate": c.EvaluateStage(VERSIONS["evaluate"], root.evaluate, **shared),
        "report": c.ReportStage(VERSIONS["report"], root.name, root.seeds, [*root.method, *later_rounds(root)], root.report, averaged),
        "comparison": c.ComparisonStage(
            version=VERSIONS["comparison"], name=root.name, averaged=averaged, **(vars(root.comparison) | {"every": time.curve})
        ),
        "measure": _measure_stage(root, time, shared),
    }
    if root.probe.adopt:
        stages["adopt"] = _adopt_stage(root, time, shared)
    else:
        probe = c.ProbeStage(VERSIONS["probe"], checkpoint_every=time.checkpoint_every, keep_states=root.probe.keep_states, **run)
        stages["probe"] = probe
    if time.average:
        stages["average"] = c.AverageStage(VERSIONS["average"], *time.average, checkpoints=time.adopted)
    if time.curve:
        stages["curve"] = c.CurveStage(VERSIONS["curve"], time.curve, *(time.average or (None, None)))
    if root.evaluate.benchmarks:
        stages["benchmarks"] = c.BenchmarksStage(VERSIONS["benchmarks"], root.task, root.evaluate.benchmarks, root.policy.dtype)
    for name, method in time.methods.items():
        if method.demonstrations:
            stages[f"demonstrate-{name}"] = _demonstrate_stage(root, time, name, method, method.demonstrations)
            if root.policy.teacher:
                stages["teacher"] = c.TeacherStage(VERSIONS["teacher"], root.task, root.policy.scratch, root.policy.teacher)
    for number in range(1, root.rounds + 1):
        stages |= _round_stages(root, time, number, shared, run)
    starts = several_starts(root)
    started = {name: replace(stage, cold_starts=starts) if isinstance(stage, c.Started) else stage for name, stage in stages.items()}
    return {name: c.as_values(stage) for name, stage in started.items()}


def several_starts(root: s.RootConfig) -> int | None:
    """How many initial policies there are; None where all seeds share one."""
    return None if root.policy.cold_starts == 1 else root.policy.cold_starts


def later_rounds(root: s.RootConfig) -> list[str]:
    """The runs of the second round and later: `round-2/npo` and so on, of the methods that learn from the guide stage's shards."""
    names = [name for name, method in root.method.items() if "guides" in method.needs]
    return [f"round-{number}/{name}" for number in range(2, root.rounds + 1) for name in names]


def _round_stages(root: s.RootConfig, time: Timeline, number: int, shared: dict[str, Any], run: dict[str, Any]) -> dict[str, Any]:
    """Guide, plan and guided stages of one round; those of a later one have its name before theirs."""
    place, first = "" if number == 1 else f"round-{number}", next(iter(root.method))
    probe_run = "probe" if number == 1 else first if number == 2 else f"round-{number - 1}/{first}"
    prefix = f"{place}/" if place else ""
    known: dict[str, Any] = {"round": place, "probe_run": probe_run}
    guides: dict[str, Any] = {"guide_steps": time.guide_steps, "lookback": time.lookback, "start": time.start}
    stages: dict[str, Any] = {f"{prefix}guide": _guide_stage(root, time, known | guides | shared)}
    for name, method in time.methods.items():
        if number > 1 and f"{prefix}{name}" not in later_rounds(root):
            continue
        if method.scheduled:
            plan = c.PlanStage(VERSIONS["plan"], name=name, method=method, steps=time.steps, **known, **guides)
            stages[f"{prefix}plan-{name}"] = plan
        # A run that is a probe for the next round keeps as many checkpoints as a probe.
        dense = name == first and number < root.rounds
        stages[f"{prefix}guided-{name}"] = _guided_stage(root, time, name, run | known, dense)
    return stages


def _guide_stage(root: s.RootConfig, time: Timeline, others: dict[str, Any]) -> c.GuideStage:
    settings = root.guidance
    return c.GuideStage(
        VERSIONS["guide"],
        checkpoint_every=time.checkpoint_every,
        gate=settings.gate,
        samples=settings.samples,
        shard_rows=settings.shard_rows,
        variance=settings.variance,
        average=settings.average,
        **others,
    )


def _guided_stage(root: s.RootConfig, time: Timeline, name: str, run: dict[str, Any], dense: bool) -> c.GuidedStage:
    """What a schedule says is not repeated: editing it, or a method's gate, is the plan's matter."""
    method = time.methods[name]
    live = None if method.scheduled else method
    own: dict[str, Any] = {"steps": run_steps(method, time.steps), "grpo": merge_grpo(root.grpo, method.grpo)}
    variance = root.guidance.variance if method.scored_live else None
    if time.start is not None:
        own |= {"start": time.start, "start_warmup": root.guided.start_warmup, "checkpoints": guided_checkpoints(time, own["steps"], dense)}
    every = time.checkpoint_every if dense else time.guided_checkpoint_every
    own["replace"] = root.guidance.replace if method.replaces else "last"
    own["task"] = root.task if method.reads_task else None
    return c.GuidedStage(VERSIONS["guided"], name=name, checkpoint_every=every, method=live, variance=variance, **(run | own))


def _adopt_stage(root: s.RootConfig, time: Timeline, shared: dict[str, Any]) -> c.AdoptStage:
    """Where its roll-outs are imported nothing is sampled, and no key of sampling prompts counts."""
    probe, prompts = root.probe, None
    if probe.completions is None:
        prompts = c.SampledPrompts(time.start or 0, root.grpo.prompts_per_step, root.grpo.group_size)
    return c.AdoptStage(
        version=VERSIONS["adopt"],
        adopted=probe.adopt,
        copy=probe.adopt_copy,
        completions=probe.completions,
        log=probe.log,
        steps=time.steps,
        sampled=prompts,
        lora=root.policy.lora,
        prompt=root.task.prompt,
        **shared,
    )


def _demonstrate_stage(
    root: s.RootConfig, time: Timeline, name: str, method: s.MethodConfig, settings: s.DemonstrationsConfig
) -> c.DemonstrateStage:
    return c.DemonstrateStage(
        version=VERSIONS["demonstrate"],
        name=name,
        policy=settings.policy,
        prompt=root.task.prompt,
        samples=settings.samples,
        wanted=settings.wanted,
        steps=run_steps(method, time.steps),
        start=time.start,
        prompts_per_step=root.grpo.prompts_per_step,
        sampling=replace(root.sampling, temperature=settings.temperature, top_p=settings.top_p),
        engine=root.engine,
        verifier=root.task.verifier,
        dtype=root.policy.dtype,
    )


def _measure_stage(root: s.RootConfig, time: Timeline, shared: dict[str, Any]) -> c.MeasureStage:
    return c.MeasureStage(
        VERSIONS["measure"],
        checkpoint_every=time.checkpoint_every,
        gate=root.guidance.gate,
        measure=resolve_measure(root.measure, time.steps, time.checkpoint_every),
        variance=root.guidance.variance,
        grpo=root.grpo,
        **shared,
    )


def _compose(experiment: str, overrides: list[str], conf: Path) -> DictConfig:
    if experiment not in choices(conf, "experiment"):
        raise ConfigError(no_such_file("experiment", experiment, conf))
    check_readable(own_conf(conf), conf)
    own = [QuotedString(f"file://{folder}", Quote.single).with_quotes() for folder in own_conf(conf)]
    given = [f"hydra.searchpath=[{','.join(own)}]", f"experiment={QuotedString(experiment, Quote.single).with_quotes()}"]
    try:
        with initialize_config_dir(str(conf), version_base="1.3"):
            return hydra_compose("config", [*given, *overrides])
    except (HydraException, OmegaConfBaseException, RecognitionException) as error:
        found = str(error) or f"overrides={' '.join(overrides)!r}: not readable as key=value"
        raise ConfigError(one_line(override_error(found, _without_overrides(given, conf), conf))) from None
    except (ValueError, TypeError) as error:  # of Hydra, where a group is given a number: task=1, method=[1]
        place = f"overrides={' '.join(overrides)!r}" if overrides else f"experiment={experiment}"
        raise ConfigError(f"{place}: {error}; expected the name of a file in conf/, as in task=chain_sum or method=[npo]") from None


def _without_overrides(given: list[str], conf: Path) -> DictConfig:
    """The experiment alone, whose keys a misspelt one may be near; empty if it is what does not compose."""
    try:
        with initialize_config_dir(str(conf), version_base="1.3"):
            return hydra_compose("config", given)
    except (HydraException, OmegaConfBaseException):
        return OmegaConf.create({})


def _check_are_settings(methods: Any) -> None:
    given = {f"method.{name!s}": method for name, method in methods.items()} if isinstance(methods, Mapping) else {"method": methods}
    for key, method in given.items():
        if not isinstance(method, Mapping | None):
            raise ConfigError(f"{key}={short_repr(method)}: expected settings; methods are chosen by method=[npo,autonpo]")


def _drop_methods_not_chosen(composed: DictConfig, known: Collection[str], tuned: Collection[str]) -> None:
    """An experiment's file may tune methods that `method=[...]` then leaves out: without their own file they have no kind.

    Raises ConfigError where an override tunes (`tuned`) one of them: it would be without effect.
    """
    methods = composed.get("method") or {}
    _check_are_settings(methods)
    left_out = [name for name, method in methods.items() if name in known and "kind" not in (method or {})]
    if wrong := [name for name in left_out if name in tuned]:
        chosen = ",".join([name for name in methods if name not in left_out] + wrong[:1])
        raise ConfigError(f"method.{wrong[0]}: has settings, but is not among the methods that are run; expected method=[{chosen}]")
    with open_dict(composed):
        for name in left_out:
            del composed.method[name]
