"""The kinds of method: each is the file of that name in npo_pipeline/guidance/methods, found by it and imported when it is asked for.

Only that name leads from here up to the methods, which import the settings that they add to. They are read whenever a workflow is
planned, so on top they import nothing heavy (a test says what that is).
"""

import importlib
import pkgutil
from dataclasses import MISSING, fields
from typing import Any

from omegaconf import DictConfig, OmegaConf

from npo_pipeline.configuration.checks.require import one_of, require
from npo_pipeline.configuration.settings.method import MethodConfig

FOLDER = "npo_pipeline.guidance.methods"
EXPECTED = {"autonpo": "the settings of the trigger, as in conf/method/autonpo.yaml"}


def kinds() -> tuple[str, ...]:
    return tuple(sorted(module.name for module in pkgutil.iter_modules(importlib.import_module(FOLDER).__path__)))


def method_class(kind: str) -> type[MethodConfig]:
    """The settings of a kind, with what they say of it."""
    found = importlib.import_module(f"{FOLDER}.{kind}").Method
    assert issubclass(found, MethodConfig), f"{FOLDER}.{kind}.Method adds to MethodConfig"
    return found


def typed_method(key: str, given: Any) -> type[MethodConfig] | None:
    """The class that checks the settings `given` for the method `key`: their kind's. None where they name none.

    Takes out of them what is null and another kind's, as older results have it. Raises ConfigError for an unknown kind, and where
    what the kind cannot do without is missing.
    """
    kind = given.get("kind") if isinstance(given, DictConfig) and not OmegaConf.is_missing(given, "kind") else None
    if not isinstance(kind, str):
        return None
    one_of(f"{key}.kind", kind, kinds())
    schema = method_class(kind)
    own = {field.name: field for field in fields(schema)}
    for name in [name for name, value in given.items() if value is None and name not in own and name in kinds()]:
        del given[name]
    for name, field in own.items():
        needed = field.kw_only and field.default is MISSING and field.default_factory is MISSING
        require(not needed or given.get(name) is not None, f"{key}.{name}", None, f"{EXPECTED.get(name, 'its settings')} (kind {kind})")
    return schema
