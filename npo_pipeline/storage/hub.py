"""The commit behind a hub name: what a dataset or a policy was, said so that it can be had again."""

import logging
from functools import lru_cache

log = logging.getLogger(__name__)


@lru_cache
def hub_commit(repository: str, revision: str | None, kind: str) -> str | None:
    """The commit that a branch, tag or None (the default branch) stands for now: asked once, so that all splits are of one commit.

    `kind` is "dataset" or "model". None where the hub does not answer or has no such repository: it may still be in the local
    cache, or loading it says what is wrong.
    """
    from huggingface_hub import HfApi

    try:
        found = HfApi().repo_info(repository, repo_type=kind, revision=revision, timeout=20)
    except Exception as error:  # no network, no such repository, offline mode: each raises its own kind, and loading may still go well
        log.warning("%s: its revision %r was not resolved to a commit (%s)", repository, revision, " ".join(str(error).split())[:300])
        return None
    return found.sha
