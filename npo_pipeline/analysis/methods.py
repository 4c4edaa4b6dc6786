"""The methods by name: the order of the table's rows, how they are called, and what each needs beside its own run."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, cast

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from npo_pipeline.analysis.results import GRPO, policy_label
from npo_pipeline.configuration.methods import kinds, method_class
from npo_pipeline.configuration.places import CONF, own_conf
from npo_pipeline.configuration.settings import Need, RowConfig
from npo_pipeline.errors import ConfigError
from npo_pipeline.shown import one_line

INITIAL, LONG = "initial", "grpo_long"
OWN_ROWS = {
    INITIAL: RowConfig(0, "", "the initial policy, before any reinforcement learning"),
    GRPO: RowConfig(20, "", "the probe, run to its end"),
}

# Where a configuration says nothing of `kind` (results of earlier versions), the name does. What came later always says it.
KIND_OF_PREFIX = {"resample": "resample", "exgrpo": "replay", "luffy": "demonstrations", "rlep": "demonstrations", "grpo": "none"}
KIND_OF_PREFIX |= {"autonpo_rollback": "rollback", "hint": "hint", "npo_ema": "ema", "npo_extrapolate": "ema"}


def rows() -> dict[str, RowConfig]:
    """Of every policy that has one: the initial one's, GRPO's, and the methods' of conf/method, in their order. Raises ConfigError."""
    return _rows((CONF, *own_conf(CONF)))


@cache
def _rows(folders: tuple[Path, ...]) -> dict[str, RowConfig]:
    found = [_row(file) for folder in folders for file in sorted((folder / "method").glob("*.yaml"))]
    known = OWN_ROWS | {name: row for methods in found for name, row in methods.items()}
    return dict(sorted(known.items(), key=lambda item: item[1].order))


def _row(file: Path) -> dict[str, RowConfig]:
    """Of the methods of a file (it has one), those that say how they are shown."""
    try:
        methods = yaml.safe_load(file.read_text(encoding="utf-8"))
        given = OmegaConf.create({name: method["row"] for name, method in methods.items() if method.get("row")})
        checked = {str(name): OmegaConf.merge(OmegaConf.structured(RowConfig), row) for name, row in given.items()}
        return {name: cast(RowConfig, OmegaConf.to_object(row)) for name, row in checked.items()}
    except (yaml.YAMLError, AttributeError, OmegaConfBaseException) as error:
        raise ConfigError(f"{file}: expected a method, with a row as in conf/method/npo.yaml: {one_line(str(error))}") from None


def family(title: str) -> tuple[str, ...]:
    return tuple(name for name, row in rows().items() if row.family == title)


def controls() -> tuple[str, ...]:
    """The methods that answer another question than whether a guide helps."""
    return tuple(name for name, row in rows().items() if row.control)


def contenders(methods: Sequence[str]) -> list[str]:
    """Of these methods those that the best is chosen from: the guided ones; controls only where there is nothing else."""
    return [name for name in methods if name not in controls()] or list(methods)


def label(policy: str) -> str:
    return "base" if policy == INITIAL else policy_label(policy)


def ordered(policies: Sequence[str]) -> list[str]:
    """In the order of the table's rows; methods that it does not know come last, as they were given."""
    known = rows()
    return [*(name for name in known if name in policies), *(name for name in policies if name not in known)]


def needs(name: str, config: Mapping[str, Any]) -> frozenset[Need]:
    """What `name` needs beside its own run, from the part `method` of config/guided-<name>.yaml (empty where unknown).

    This is what a person starting from nothing pays: a method that needs the probe pays the whole of it, and all guides.
    """
    if name in (INITIAL, GRPO):
        return frozenset()
    prefix = next((kind for prefix, kind in KIND_OF_PREFIX.items() if name.startswith(prefix)), "planned")
    kind = config.get("kind", prefix)
    if kind not in kinds():
        return frozenset({"probe", "guides"})
    found = method_class(kind).needs
    if "demonstrations" in found:
        policy = (config.get("demonstrations") or {}).get("policy", "probe" if name.startswith("rlep") else "teacher")
        return found | {"probe"} if policy == "probe" else found
    return found
