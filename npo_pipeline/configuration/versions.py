"""What older results are told from newer ones by."""

# Raise a stage's version when its code changes what it writes: Snakemake then makes it again.
VERSIONS = {
    "prepare": 4,
    "teacher": 1,
    "probe": 5,
    "adopt": 1,
    "guide": 4,
    "plan": 4,
    "demonstrate": 3,
    "guided": 5,
    "benchmarks": 1,
    "average": 1,
    "curve": 1,
    "evaluate": 3,
    "report": 5,
    "comparison": 5,
    "measure": 2,
}

# Settings that came later, unset: a stage's file and fingerprint hold them only where they are set, so that older results stay as they are.
LATER = {
    "function": None,
    "function_sha256": None,
    "rules": None,
    "average": None,
    "averaged": None,
    "lr_schedule": "constant",
    "lr_floor": 0.0,
    "dynamic_sampling": None,
    "keep_states": None,
    "start": None,
    "start_warmup": None,
    "checkpoints": None,
    "cold_starts": None,
    "choice": "argmax",
    "replace": "last",
    "every": None,
    "task": None,
    "row": None,
}

# The order in which the files of plan and guided stages hold a method's settings (those of later kinds follow), and which of other
# kinds they hold too, as null: older results have them so. Complete: a later kind needs no word here.
METHOD = (
    *("kind", "gate", "correction", "windows", "autonpo", "rolling", "online", "rollback"),
    *("resample", "ema", "hint", "replay", "demonstrations", "grpo", "length"),
)
OF_ALL_KINDS = dict.fromkeys(("autonpo", "rolling", "online", "resample", "replay", "demonstrations"))
