"""The methods by name: the order of the table's rows, how they are called, and what each needs beside its own run."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from npo_pipeline.analysis.results import GRPO, policy_label

Need = Literal["probe", "guides", "demonstrations"]

INITIAL, LONG = "initial", "grpo_long"
MANUAL = ("npo_early", "npo_late", "npo", "npo_rolling")
AUTO = ("autonpo", "autonpo_online", "autonpo_rollback")
ONE_PASS = ("npo_ema", "npo_extrapolate")
COMPARATORS = ("luffy", "exgrpo", "rlep", "resample", "hint")
CONTROLS = (LONG, "resample")  # they answer another question than whether a guide helps
ROWS = (INITIAL, "luffy", GRPO, "exgrpo", "rlep", "resample", "hint", *MANUAL, *AUTO, *ONE_PASS, LONG)  # as in the paper's table

DESCRIPTIONS = {
    INITIAL: "the initial policy, before any reinforcement learning",
    GRPO: "the probe, run to its end",
    "luffy": "demonstrations of an external teacher",
    "exgrpo": "replay of its own past successes",
    "rlep": "demonstrations of the finished probe (far future)",
    "resample": "control: the live policy sampled again where a guide would have been asked",
    "hint": "the live policy with the beginning of the reference solution in its prompt, where it fails",
    "npo_early": "near-future guides in the first part of training",
    "npo_late": "near-future guides in the last part",
    "npo": "near-future guides in both parts",
    "npo_rolling": "guides at a fixed distance ahead, all along",
    "autonpo": "interventions planned from the probe's log",
    "autonpo_online": "interventions decided live, with the shards as supply",
    "autonpo_rollback": "one pass: goes back at a warning, and takes the segment again with guides from there",
    "npo_ema": "one pass: its own averaged weights, where they solve more of what it fails than the live policy",
    "npo_extrapolate": "one pass: weights extrapolated away from that average",
    LONG: "GRPO given the compute of both passes: more steps",
}

# Where a configuration says nothing of `kind` (results of earlier versions), the name does.
KIND_OF_PREFIX = {"resample": "resample", "exgrpo": "replay", "luffy": "demonstrations", "rlep": "demonstrations", "grpo": "none"}
KIND_OF_PREFIX |= {"autonpo_rollback": "rollback", "hint": "hint"} | dict.fromkeys(ONE_PASS, "ema")
ALONE = ("rollback", "resample", "ema", "hint", "replay", "none")  # kinds that need neither probe nor guides


def label(policy: str) -> str:
    return "base" if policy == INITIAL else policy_label(policy)


def ordered(policies: Sequence[str]) -> list[str]:
    """In the order of the table's rows; methods that it does not know come last, as they were given."""
    return [*(name for name in ROWS if name in policies), *(name for name in policies if name not in ROWS)]


def needs(name: str, config: Mapping[str, Any]) -> frozenset[Need]:
    """What `name` needs beside its own run, from the part `method` of config/guided-<name>.yaml (empty where unknown).

    This is what a person starting from nothing pays: a method that needs the probe pays the whole of it, and all guides.
    """
    if name in (INITIAL, GRPO):
        return frozenset()
    prefix = next((kind for prefix, kind in KIND_OF_PREFIX.items() if name.startswith(prefix)), "guided")
    kind = config.get("kind", prefix)
    if kind in ALONE:
        return frozenset()
    if kind == "demonstrations":
        policy = (config.get("demonstrations") or {}).get("policy", "probe" if name.startswith("rlep") else "teacher")
        return frozenset({"probe", "demonstrations"} if policy == "probe" else {"demonstrations"})
    return frozenset({"probe", "guides"})
