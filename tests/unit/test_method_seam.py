"""A method is one file, one YAML and one section: a throw-away kind of each sort is added by its file and its YAML, and nothing else."""

import argparse
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from rank_scenarios import trainer_of

from npo_pipeline.analysis.methods import family, needs, ordered, rows
from npo_pipeline.configuration.compose import CONF, PROJECT, load_root, load_stage, stage_configs, to_yaml
from npo_pipeline.configuration.methods import kinds, method_class
from npo_pipeline.configuration.stages import GuidedStage, PlanStage
from npo_pipeline.context import Context
from npo_pipeline.distributed.ranks import Ranks
from npo_pipeline.errors import ConfigError
from npo_pipeline.grpo.step import run_step
from npo_pipeline.guidance import methods
from npo_pipeline.guidance.methods import guided
from npo_pipeline.guidance.schedule import parse_schedule
from npo_pipeline.planning.architecture import from_scratch
from npo_pipeline.planning.work import Assumptions, plan_work
from npo_pipeline.stages import plan
from npo_pipeline.storage.layout import Layout

HEAVY = {"torch", "transformers", "numpy", "scipy", "pyarrow", "datasets", "vllm"}

RETRY = '''
"""A throw-away method: the live policy tries again until `to_step`."""

from dataclasses import dataclass, field, replace
from functools import partial

from npo_pipeline.configuration.checks.require import require
from npo_pipeline.configuration.grid import as_steps
from npo_pipeline.configuration.settings import Further, StepLike
from npo_pipeline.grpo.mixer import Mixed, OnPolicy
from npo_pipeline.grpo.mixing import mix
from npo_pipeline.guidance.generate import first_verified, sample_until_verified, tokens_of
from npo_pipeline.guidance.methods import Live
from npo_pipeline.records import GuideTrajectory


@dataclass
class RetryConfig:
    tries: int
    to_step: StepLike
    note: str


@dataclass
class Method(Live):
    retry: RetryConfig = field(kw_only=True)

    def check(self, key):
        require(self.retry.tries >= 1, f"{key}.retry.tries", self.retry.tries, "at least 1")

    def check_with(self, name, root):
        require(root.task.source != "dataset", "task.source", root.task.source, f"another, since {name} is for made problems")

    def resolved(self, key, place):
        return replace(self, retry=replace(self.retry, to_step=as_steps(self.retry.to_step, place.steps, f"{key}.retry.to_step")))

    def further(self, run):
        return Further(tries=run.seeds * self.retry.to_step * run.prompts * self.retry.tries)

    def make(self, context):
        def mixer(trainer):
            from npo_pipeline.guidance import live

            return RetryMixer(self, partial(live.tries, trainer, "retry"))

        return mixer


class RetryMixer(OnPolicy):
    def __init__(self, method, sample_at):
        self.method, self.sample_at = method, sample_at

    def mix(self, step, groups):
        hard = [group.problem for group in groups if group.accuracy <= self.method.gate and step < self.method.retry.to_step]
        tried = sample_until_verified(hard, self.method.retry.tries, partial(self.sample_at, step))
        found = {problem_id: GuideTrajectory(trajectory, step) for problem_id, trajectory in first_verified(tried).items()}
        mixed = [mix(group, found.get(group.problem.problem_id), self.method.gate, "policy") for group in groups]
        return Mixed(mixed, tokens_of(tried), {"retry/solved": len(found)})
'''

LAST = '''
"""A throw-away method with a schedule: the last guide checkpoint helps in the last `share` of its lookback."""

from dataclasses import dataclass, field

from npo_pipeline.guidance.methods import Planned
from npo_pipeline.guidance.schedule import Schedule, Window


@dataclass
class LastConfig:
    share: float


@dataclass
class Method(Planned):
    last: LastConfig = field(kw_only=True)

    def plan(self, context):
        config = context.config
        last = config.guide_steps[-1]
        window = Window(last - round(self.last.share * config.lookback), last, last, self.gate, self.correction, "the last")
        return Schedule(config.name, [window])
'''

CHOICES = {
    "mine": {
        **{"kind": "retry", "gate": 0.6, "correction": False, "retry": {"tries": 3, "to_step": 0.5, "note": "x"}},
        "row": {"order": 55, "family": "Comparators", "description": "tries again"},
    },
    "yours": {"kind": "last", "gate": 0.5, "correction": True, "last": {"share": 0.5}},
}


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Both kinds beside the shipped ones, and a YAML for each in the conf/ of the working directory."""
    for kind, text in (("retry", RETRY), ("last", LAST)):
        (tmp_path / f"{kind}.py").write_text(text)
    for name, settings in CHOICES.items():
        (tmp_path / "work/conf/method").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"work/conf/method/{name}.yaml").write_text(yaml.safe_dump({name: settings}))
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(tmp_path)])
    monkeypatch.chdir(tmp_path / "work")
    importlib.invalidate_caches()
    yield tmp_path / "work"
    for kind in ("retry", "last"):
        sys.modules.pop(f"{methods.__name__}.{kind}", None)


def context_of(name: str, stage: type, folder: Path, *overrides: str) -> Context:
    """As a stage has it, from its file."""
    composed = stage_configs(load_root(overrides=["method=[npo,mine,yours]", *overrides]))
    file = folder / f"{name}.yaml"
    file.write_text(to_yaml(composed[name]))
    return Context(*load_stage(file, stage), Layout(folder / "results"), argparse.Namespace())


def test_its_configuration_is_composed_checked_and_read_back(added: Path) -> None:
    composed = stage_configs(load_root(overrides=["method=[mine,yours]", "method.mine.retry.note=1e3 ünï"]))
    assert composed["guided-mine"]["method"]["retry"] == {"tries": 3, "to_step": 100, "note": "1e3 ünï"}
    assert "row" not in composed["guided-mine"]["method"]
    assert "method" not in composed["guided-yours"] or composed["guided-yours"]["method"] is None
    assert composed["plan-yours"]["method"]["last"] == {"share": 0.5}
    for name, schema in (("guided-mine", GuidedStage), ("plan-yours", PlanStage)):
        (added / "stage.yaml").write_text(to_yaml(composed[name]))
        stage, _ = load_stage(added / "stage.yaml", schema)
        assert isinstance(stage.method, method_class("retry" if name == "guided-mine" else "last"))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("method.mine.retry.tries=0", "method.mine.retry.tries=0: expected at least 1"),
        ("+method.mine.retry.trise=2", "method.mine.retry.trise: no such key; did you mean method.mine.retry.tries?"),
        ("method.mine.retry.tries=many", r"method.mine.retry.tries: Value 'many'.* could not be converted to Integer"),
        ("method.mine.retry=null", r"method.mine.retry=None: expected its settings \(kind retry\)"),
        ("method.mine.retry.to_step=9.5", "method.mine.retry.to_step=9.5: "),
        ("+method.mine.last={share:1}", "method.mine.last: no such key; "),
        ("method.mine.row.family=Mine", "method.mine.row.family='Mine': expected one of Manual NPO, AutoNPO"),
        ("task=gsm8k", "task.source='dataset': expected another, since mine is for made problems"),
        ("method.mine.kind=nope", "method.mine.kind='nope': expected one of autonpo, .*retry"),
    ],
)
def test_what_cannot_work_is_refused_by_its_own_checks(added: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{message}"):
        stage_configs(load_root(overrides=["method=[mine]", override]))


def test_what_it_samples_is_foreseen(added: Path) -> None:
    root = load_root(overrides=["method=[mine,yours]", "seeds=[0,1]", "probe.steps=120"])
    assert root.policy.scratch is not None
    work = {w.stage: w for w in plan_work(root, from_scratch(root.policy.scratch, None), Assumptions(20, 10.0, 0.5, 0.5, 0.1))}
    groups, tries = 2 * 120 * 32 * 8, 2 * 60 * 32 * 3
    assert (work["mine"].most, work["mine"].expected) == (groups + tries, groups + tries / 4)
    assert work["yours"].most == groups
    assert work["guide"].most > 0, "yours has a schedule, and so guides"


def test_its_row_stands_where_its_yaml_says(added: Path) -> None:
    assert ordered(["yours", "npo", "mine", "probe", "resample"]) == ["probe", "resample", "mine", "npo", "yours"]
    assert rows()["mine"].description == "tries again"
    assert "mine" in family("Comparators")
    assert needs("mine", CHOICES["mine"]) == set()
    assert needs("yours", {}) == needs("yours", CHOICES["yours"]) == {"probe", "guides"}


def test_its_mixer_trains(added: Path) -> None:
    context = context_of("guided-mine", GuidedStage, added)
    trainer = trainer_of(Ranks())
    trainer.mixer = guided(context.config).make(context)(trainer)
    outcomes = [run_step(trainer, step, "") for step in range(2)]
    assert sum(outcome.metrics["guide/injected"] for outcome in outcomes) > 0
    assert sum(outcome.metrics["retry/solved"] for outcome in outcomes) > 0


def test_its_schedule_is_planned(added: Path) -> None:
    plan.run(context := context_of("plan-yours", PlanStage, added, "probe.steps=120", "guidance.lookback=40"))
    (window,) = parse_schedule(context.layout.schedule("yours")).windows
    assert (window.from_step, window.to_step, window.guide_step, window.gate, window.correction) == (100, 120, 120, 0.5, True)


def test_planning_a_workflow_reads_no_method_that_is_heavy() -> None:
    code = "import sys; from npo_pipeline.configuration.methods import kinds, method_class; [method_class(kind) for kind in kinds()]; "
    code += f"print(sorted({HEAVY} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


def test_every_kind_has_a_yaml_and_every_yaml_a_row_and_a_place_in_the_docs() -> None:
    shipped = {name: method for file in (CONF / "method").glob("*.yaml") for name, method in yaml.safe_load(file.read_text()).items()}
    assert {method["kind"] for method in shipped.values()} == set(kinds())
    assert set(rows()) == {"initial", "probe", *shipped}
    orders = [row.order for row in rows().values()]
    assert orders == sorted(set(orders)), "no two rows have the same place"
    told = (PROJECT / "docs/method.md").read_text()
    assert [name for name in shipped if f"`{name}`" not in told] == []
