"""Overrides and stage configurations, as wrong as they may be: each composes, or is refused by key in one line. Nothing else."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
from fuzzing import TEXTS, WORDS, cases, damaged, damaged_bytes, read_or_refuse
from hypothesis import given
from hypothesis import strategies as st

from npo_pipeline.configuration import stages as c
from npo_pipeline.configuration.compose import load_root, load_stage, stage_configs, to_yaml

SCHEMAS = {
    "prepare": c.PrepareStage,
    "probe": c.ProbeStage,
    "guide": c.GuideStage,
    "plan-npo": c.PlanStage,
    "guided-npo": c.GuidedStage,
    "evaluate": c.EvaluateStage,
    "report": c.ReportStage,
    "measure": c.MeasureStage,
}


@cache
def stages() -> dict[str, dict[str, Any]]:
    return stage_configs(load_root(overrides="method=[npo]"))


@cache
def keys() -> list[str]:
    """Of the whole configuration, dotted, and some that are none."""
    from npo_pipeline.configuration.hydra_errors import _dotted

    own = list(
        _dotted({"task": stages()["prepare"]["task"], "grpo": stages()["probe"]["grpo"], "evaluate": stages()["evaluate"]["evaluate"]})
    )
    return [
        *own,
        "name",
        "seeds",
        "experiment",
        "task",
        "policy",
        "method",
        "method.npo.windows",
        "method.npo.gate",
        "hydra.run.dir",
        "nope",
    ]


VALUES = st.one_of(
    st.sampled_from(
        ["1", "-1", "0", "0.5", "null", "true", "nan", "inf", "[]", "{}", "[1,2]", "{a:1}", "''", "1,2", "1e400", "0x", "9" * 5000]
    ),
    st.sampled_from(
        ["${name}", "${nope}", "${oc.env:HOME}", "${hydra:runtime}", "${", "range(1,9)", "choice(a,b)", "[" * 90, "../../x", "a b"]
    ),
    st.sampled_from(["[{from_step:0,to_step:1}]", "[{from_step:0.0,to_step:1.0,guide_step:1.0}]", "!!python/x", "\\", "'", '"', "=", "#"]),
    TEXTS,
)


@st.composite
def overrides(draw: st.DrawFn) -> str:
    prefix = draw(st.sampled_from(["", "", "", "+", "++", "~", "-", " "]))
    return draw(TEXTS) if not draw(st.integers(0, 5)) else f"{prefix}{draw(st.sampled_from(keys()))}={draw(VALUES)}"


@cases(5)
@given(st.lists(overrides(), min_size=1, max_size=3))
def test_overrides(words: list[str]) -> None:
    root = read_or_refuse(lambda: load_root(overrides=words))
    if root:
        read_or_refuse(lambda: stage_configs(root))


@cases()
@given(st.text(alphabet="'\"\\ ab=#", max_size=9))
def test_overrides_as_one_text(text: str) -> None:
    from npo_pipeline.configuration.overrides import split

    read_or_refuse(lambda: split(text), "overrides")


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("key", ["name", "+evaluate.benchmarks.{}.data"])
def test_names_hold_nothing_that_a_shell_or_a_wildcard_reads(key: str, word: str) -> None:
    """Asked of the check itself, since Hydra's grammar would refuse most of these words before."""
    from npo_pipeline.configuration.checks.require import plain_name

    if word not in ("1e999999", "null"):
        assert read_or_refuse(lambda: plain_name(key, word), key) is None
        with pytest.raises(Exception, match="expected a plain name"):
            plain_name(key, word)


@cases()
@given(st.data())
def test_stage_configurations(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.getbasetemp() / "stage.yaml"
    name = data.draw(st.sampled_from(sorted(SCHEMAS)))
    if data.draw(st.booleans()):
        path.write_text(to_yaml(data.draw(damaged(stages()[name]))), encoding="utf-8", errors="surrogatepass")
    else:
        path.write_bytes(data.draw(damaged_bytes(to_yaml(stages()[name]).encode())))
    read_or_refuse(lambda: load_stage(path, SCHEMAS[name]), Path(path))
