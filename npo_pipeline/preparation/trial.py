"""What only a try shows of a policy that somebody else made: forwards of two short texts, and an answer written and read back.

A policy that fails here would train: on log-probs that are NaN, on tokens that it has looked ahead at, or on rewards that are all 0.
"""

import logging
import math

from npo_pipeline.configuration.settings import VerifierConfig
from npo_pipeline.errors import ConfigError
from npo_pipeline.policy.logprobs import score
from npo_pipeline.policy.policy import Policy, embedding_rows, non_finite
from npo_pipeline.records import Problem
from npo_pipeline.tasks.judging.extract import demonstrate, extract_answer

log = logging.getLogger(__name__)

CLOSE = 0.05  # nats: by less two forwards in bfloat16 differ, also where other tokens go to other experts


def try_policy(policy: Policy, problem: Problem, verifier: VerifierConfig) -> None:
    """Raises ConfigError for one that cannot be trained on problems like this."""
    _check_finite(policy)
    _check_causal(policy, problem)
    if verifier.kind != "python":
        _check_readable(policy, problem.answer, verifier.extract)
    _say_plain_stops(policy)


def _check_finite(policy: Policy) -> None:
    if odd := non_finite(policy):
        raise ConfigError(
            f"policy.path: its weight {odd} holds NaN or infinity as {policy.model.dtype}, expected finite numbers; take another checkpoint"
        )


def _check_causal(policy: Policy, problem: Problem) -> None:
    """A response's first token has the same log-prob whatever follows it."""
    prompt = policy.prompt(problem.prompt_token_ids, problem.images)
    free = [token for token in range(embedding_rows(policy.model)) if token not in policy.forbidden_ids][:3]
    rows = [(prompt, (free[0], second, free[0])) for second in free[1:]]  # nobody reads the last
    found = [score(policy.model, [row], policy.pad_id, 1.0, len(prompt) + 3)[0] for row in rows]
    if not all(math.isfinite(value) for values in found for value in values):
        raise ConfigError(
            "policy.path: its log-probs are NaN or infinite on the first problem; see its config.json, or take another checkpoint"
        )
    if any(abs(values[0] - found[0][0]) > CLOSE for values in found):
        raise ConfigError(
            "policy.path: a token's log-prob changes with the tokens after it, expected a causal language model; "
            "an encoder such as BERT cannot be a policy"
        )


def _check_readable(policy: Policy, answer: str, extract: str) -> None:
    """Responses are read without special tokens: an answer's marker must not be one."""
    text = demonstrate(answer, extract)
    read = policy.tokenizer.decode(policy.tokenizer.encode(text, add_special_tokens=False), skip_special_tokens=True)
    if extract_answer(text, extract) is not None and extract_answer(str(read), extract) is None:
        raise ConfigError(
            f"task.verifier.extract={extract}: the policy's tokenizer reads {text[:80]!r} back as {str(read)[:80]!r}, so that no answer "
            "would be found; take its marker out of the tokenizer's special tokens, or set another task.verifier.extract"
        )


def _say_plain_stops(policy: Policy) -> None:
    known = {*policy.tokenizer.all_special_ids, *getattr(policy.tokenizer, "added_tokens_decoder", {})}
    if plain := [token for token in policy.stop_ids if token not in known]:
        name = policy.tokenizer.convert_ids_to_tokens(plain[0])
        log.warning(
            "policy.path: token %d (%r) ends each response, though it is no special token of its tokenizer; see eos_token_id in its "
            "generation_config.json",
            plain[0],
            name,
        )
