"""The commit behind a hub name: what a dataset or a policy was, said so that it can be had again. And the branches of a repository."""

import json
import logging
from functools import lru_cache
from pathlib import Path

from npo_pipeline.errors import ConfigError
from npo_pipeline.shown import one_line
from npo_pipeline.storage.atomic import write_text

WANTED = ["*.json", "*.safetensors", "*.jinja", "*.txt", "*.model"]  # of a policy's repository

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


@lru_cache
def hub_branches(repository: str, key: str) -> dict[str, str]:
    """Commit by branch of a model repository. Where the hub does not answer, what it said last on this machine.

    Raises ConfigError, naming the setting `key`, where neither is to be had.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.constants import HF_HOME

    remembered = Path(HF_HOME) / "npo-branches" / f"{repository.replace('/', '--')}.json"
    try:
        refs = HfApi().list_repo_refs(repository, repo_type="model")
    except Exception as error:  # no network, no such repository, offline mode: each raises its own kind
        if remembered.is_file():
            log.warning("%s: the hub did not answer; its branches are those of before", repository)
            return dict(json.loads(remembered.read_text(encoding="utf-8")))
        reason = one_line(f"{type(error).__name__}: {error}")[:300]
        raise ConfigError(f"{key}={repository}: no such folder, and the hub did not tell its branches ({reason})") from None
    found = {branch.name: branch.target_commit for branch in refs.branches}
    write_text(remembered, json.dumps(found))
    return found


def hub_snapshot(repository: str, commit: str, key: str) -> Path:
    """The folder of the hub's cache that holds the policy of this commit, downloaded where it is not there. Raises ConfigError."""
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(repository, revision=commit, allow_patterns=["*.json", "*.safetensors", "*.jinja", "*.txt", "*.model"])
        )
    except Exception as error:
        reason = one_line(f"{type(error).__name__}: {error}")[:300]
        raise ConfigError(f"{key}={repository}@{commit}: could not be downloaded ({reason})") from None
