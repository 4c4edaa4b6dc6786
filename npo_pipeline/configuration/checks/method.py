"""Value checks of what all methods share; those of its own settings are in the file of its kind."""

from typing import get_args

from npo_pipeline.configuration import settings as s
from npo_pipeline.configuration.checks.require import one_of, plain_name, require
from npo_pipeline.records import Ratio
from npo_pipeline.storage.layout import AVERAGED

RESERVED = {"probe", "guide", "evaluation", "measure", "initial"}  # folders of the pipeline beside those of methods


def check_method(name: str, method: s.MethodConfig) -> None:
    key = f"method.{name}"
    plain_name("method", name, RESERVED)
    require(not name.endswith(AVERAGED), "method", name, f"a name that does not end in {AVERAGED}, as averaged policies do")
    require(0 <= method.gate < 1, f"{key}.gate", method.gate, "in [0, 1)")
    require(method.length > 0, f"{key}.length", method.length, "more than 0, a multiple of probe.steps")
    guided_to_the_end = method.length >= 1 or not method.scheduled
    require(guided_to_the_end, f"{key}.length", method.length, "at least 1, since its schedule is laid out over the probe's steps")
    if method.autonpo:
        check_trigger(f"{key}.autonpo", method.autonpo)
    if method.demonstrations:
        check_demonstrations(f"{key}.demonstrations", method.demonstrations)
    if method.row:
        one_of(f"{key}.row.family", method.row.family, s.FAMILIES)
    method.check(key)


def check_trigger(key: str, settings: s.AutoNpoConfig) -> None:
    require(0 < settings.ema <= 1, f"{key}.ema", settings.ema, "in (0, 1]: the weight of the newest step")
    require(0 <= settings.min_coverage <= 1, f"{key}.min_coverage", settings.min_coverage, "in [0, 1]")
    one_of(f"{key}.choice", settings.choice, s.CHOICES)


def check_demonstrations(key: str, settings: s.DemonstrationsConfig) -> None:
    one_of(f"{key}.place", settings.place, ("replace", "append"))
    one_of(f"{key}.ratio", settings.ratio, get_args(Ratio))
    own = settings.policy in ("probe", "teacher")  # others have log-probs of other tokens, or none
    require(own or "recorded" not in settings.ratio, f"{key}.ratio", settings.ratio, "policy or shaped, since its log-probs are not known")
    require(1 <= settings.wanted <= settings.samples, f"{key}.wanted", settings.wanted, f"from 1 to {key}.samples={settings.samples}")
    require(settings.temperature > 0, f"{key}.temperature", settings.temperature, "more than 0")
    require(0 < settings.top_p <= 1, f"{key}.top_p", settings.top_p, "in (0, 1]")
