"""Value checks of a method: what its kind cannot do without."""

from typing import get_args

from npo_pipeline.configuration import settings as s
from npo_pipeline.configuration.checks.require import one_of, plain_name, require
from npo_pipeline.records import Ratio
from npo_pipeline.storage.layout import AVERAGED

RESERVED = {"probe", "guide", "evaluation", "measure", "initial"}  # folders of the pipeline beside those of methods


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
    "rollback": ("autonpo", "rollback"),
    "resample": ("resample",),
    "ema": ("ema",),
    "hint": ("hint",),
    "replay": ("replay",),
    "demonstrations": ("demonstrations",),
}


def check_method(name: str, method: s.MethodConfig) -> None:
    key = f"method.{name}"
    plain_name("method", name, RESERVED)
    require(not name.endswith(AVERAGED), "method", name, f"a name that does not end in {AVERAGED}, as averaged policies do")
    one_of(f"{key}.kind", method.kind, s.KINDS)
    require(0 <= method.gate < 1, f"{key}.gate", method.gate, "in [0, 1)")
    require(method.length > 0, f"{key}.length", method.length, "more than 0, a multiple of probe.steps")
    guided_to_the_end = method.length >= 1 or method.kind not in s.SCHEDULED
    require(guided_to_the_end, f"{key}.length", method.length, "at least 1, since its schedule is laid out over the probe's steps")
    for part in PARTS_OF_KIND.get(method.kind, ()):
        require(
            bool(getattr(method, part)),
            f"{key}.{part}",
            getattr(method, part),
            f"{EXPECTED.get(part, 'its settings')} (kind {method.kind})",
        )
    if method.autonpo:
        check_trigger(f"{key}.autonpo", method.autonpo)
    if method.online:
        require(method.online.min_prompts >= 1, f"{key}.online.min_prompts", method.online.min_prompts, "at least 1")
    if method.rollback:
        require(method.rollback.tries >= 1, f"{key}.rollback.tries", method.rollback.tries, "at least 1")
    if method.resample:
        require(method.resample.samples >= 1, f"{key}.resample.samples", method.resample.samples, "at least 1")
    if method.ema:
        check_ema(f"{key}.ema", method.ema)
    if method.hint:
        check_hint(f"{key}.hint", method.hint)
    if method.replay:
        check_replay(f"{key}.replay", method.replay)
    if method.demonstrations:
        check_demonstrations(f"{key}.demonstrations", method.demonstrations)


def check_trigger(key: str, settings: s.AutoNpoConfig) -> None:
    require(0 < settings.ema <= 1, f"{key}.ema", settings.ema, "in (0, 1]: the weight of the newest step")
    require(0 <= settings.min_coverage <= 1, f"{key}.min_coverage", settings.min_coverage, "in [0, 1]")
    one_of(f"{key}.choice", settings.choice, s.CHOICES)


def check_ema(key: str, settings: s.EmaConfig) -> None:
    require(0 <= settings.decay < 1, f"{key}.decay", settings.decay, "in [0, 1): the weight of the average before, such as 0.97")
    require(settings.tries >= 1, f"{key}.tries", settings.tries, "at least 1")
    require(settings.share > 0, f"{key}.share", settings.share, "more than 0: a share of the step's own tokens")
    require(0 < settings.compared <= 1, f"{key}.compared", settings.compared, "in (0, 1]: a share of the gated prompts")
    require(settings.window >= 1, f"{key}.window", settings.window, "at least 1 step")
    require(0.5 <= settings.certainty < 1, f"{key}.certainty", settings.certainty, "in [0.5, 1)")


def check_hint(key: str, settings: s.HintConfig) -> None:
    shares = settings.shares
    rising = bool(shares) and all(0 < share <= 1 for share in shares) and sorted(set(shares)) == shares
    require(rising, f"{key}.shares", shares, "rising shares of the solution in (0, 1], such as [0.25, 0.5, 0.75]")
    require(settings.samples >= 1, f"{key}.samples", settings.samples, "at least 1")
    both = all(settings.template.count(mark) == 1 for mark in ("{question}", "{hint}"))
    require(both, f"{key}.template", settings.template, "a text with {question} and {hint}, once each")
    one_of(f"{key}.loss_on", settings.loss_on, ("hinted", "question"))


def check_replay(key: str, settings: s.ReplayConfig) -> None:
    require(0 <= settings.start_accuracy <= 1, f"{key}.start_accuracy", settings.start_accuracy, "in [0, 1]")
    require(0 < settings.share <= 1, f"{key}.share", settings.share, "in (0, 1]: of a step's prompts")
    require(settings.keep >= 1, f"{key}.keep", settings.keep, "at least 1")


def check_demonstrations(key: str, settings: s.DemonstrationsConfig) -> None:
    one_of(f"{key}.place", settings.place, ("replace", "append"))
    one_of(f"{key}.ratio", settings.ratio, get_args(Ratio))
    own = settings.policy in ("probe", "teacher")  # others have log-probs of other tokens, or none
    require(own or "recorded" not in settings.ratio, f"{key}.ratio", settings.ratio, "policy or shaped, since its log-probs are not known")
    require(1 <= settings.wanted <= settings.samples, f"{key}.wanted", settings.wanted, f"from 1 to {key}.samples={settings.samples}")
    require(settings.temperature > 0, f"{key}.temperature", settings.temperature, "more than 0")
    require(0 < settings.top_p <= 1, f"{key}.top_p", settings.top_p, "in (0, 1]")
