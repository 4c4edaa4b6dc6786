"""Value checks of GRPO's settings, the experiment's and those that a method changes, of the trainer and of the probe."""

from math import inf
from typing import Any

from npo_pipeline.configuration import settings as s
from npo_pipeline.configuration.checks.require import MOST_STEPS, one_of, require
from npo_pipeline.errors import ConfigError
from npo_pipeline.shown import one_line


def check_grpo(grpo: s.GrpoConfig, at: str = "grpo") -> None:
    """`at` is where they stand: a method has some of its own."""
    require(
        grpo.group_size >= 2, f"{at}.group_size", grpo.group_size, "at least 2: the advantage of a response is measured against its group"
    )
    for key in ("prompts_per_step", "epochs", "minibatches", "micro_batch_tokens"):
        require(getattr(grpo, key) >= 1, f"{at}.{key}", getattr(grpo, key), "at least 1")
    rows = grpo.prompts_per_step * grpo.group_size
    require(grpo.minibatches <= rows, f"{at}.minibatches", grpo.minibatches, f"at most the {rows} responses of a step")
    require(0 < grpo.learning_rate < inf, f"{at}.learning_rate", grpo.learning_rate, "more than 0, and finite")
    for key in ("warmup_steps", "weight_decay", "advantage_eps"):
        require(getattr(grpo, key) >= 0, f"{at}.{key}", getattr(grpo, key), "0 or more")
    require(grpo.max_grad_norm > 0, f"{at}.max_grad_norm", grpo.max_grad_norm, "more than 0")
    require(0 < grpo.clip_low <= 1, f"{at}.clip_low", grpo.clip_low, "in (0, 1]")
    require(grpo.entropy_coef >= 0, f"{at}.entropy_coef", grpo.entropy_coef, "0 or more")
    require(grpo.clip_high > 0, f"{at}.clip_high", grpo.clip_high, "more than 0")
    require(grpo.kl_coef >= 0, f"{at}.kl_coef", grpo.kl_coef, "0 or more")
    betas = grpo.adam_betas
    require(len(betas) == 2 and all(0 <= beta < 1 for beta in betas), f"{at}.adam_betas", betas, "two numbers in [0, 1)")
    cap = grpo.engine_correction_cap
    require(cap is None or cap > 0, f"{at}.engine_correction_cap", cap, "more than 0 (2 is usual), or null")
    one_of(f"{at}.lr_schedule", grpo.lr_schedule, ("constant", "linear", "cosine"))
    require(0 <= grpo.lr_floor <= 1, f"{at}.lr_floor", grpo.lr_floor, "in [0, 1]: a share of grpo.learning_rate")
    rounds = grpo.dynamic_sampling
    require(rounds is None or rounds >= 1, f"{at}.dynamic_sampling", rounds, "rounds of further problems, at least 1, or null")
    one_of(f"{at}.advantage", grpo.advantage, ("std", "mean"))
    one_of(f"{at}.aggregation", grpo.aggregation, ("response", "token", "constant"))


def merge_grpo(grpo: s.GrpoConfig, changes: dict[str, Any], key: str = "grpo") -> s.GrpoConfig:
    """`grpo` with a method's own settings. Raises ConfigError naming a key that does not exist, or has a value of another kind."""
    from omegaconf import OmegaConf  # not on top: `npo --help` reads this module
    from omegaconf.errors import OmegaConfBaseException

    from npo_pipeline.configuration.hydra_errors import key_error

    known = vars(grpo)
    for name in changes:
        require(name in known, f"{key}.{name}", changes[name], "a key of grpo: " + ", ".join(known))
        same = name != "prompts_per_step" or changes[name] == grpo.prompts_per_step
        require(same, f"{key}.{name}", changes[name], f"grpo.prompts_per_step={grpo.prompts_per_step}: a method sees the probe's prompts")
    try:
        merged = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(grpo), changes))
    except OmegaConfBaseException as error:
        raise ConfigError(one_line(f"{key}.{key_error(error)}")) from None
    assert isinstance(merged, s.GrpoConfig)
    return merged


def check_trainer(trainer: s.TrainerConfig) -> None:
    for key in ("nproc", "nodes"):
        require(getattr(trainer, key) >= 1, f"trainer.{key}", getattr(trainer, key), "at least 1")


def check_probe(probe: s.ProbeConfig) -> None:
    for key in ("steps", "checkpoint_every", "key_every"):
        require(1 <= getattr(probe, key) <= MOST_STEPS, f"probe.{key}", getattr(probe, key), f"from 1 to {MOST_STEPS:,}")
    states, every = probe.keep_states, probe.checkpoint_every
    on_grid = states is None or (states >= 1 and states % every == 0)
    require(
        on_grid,
        "probe.keep_states",
        states,
        f"a multiple of probe.checkpoint_every={every}, or null: a state is of use beside a checkpoint",
    )


def check_guided(guided: s.GuidedConfig) -> None:
    require(guided.start_warmup >= 0, "guided.start_warmup", guided.start_warmup, "0 or more steps")
