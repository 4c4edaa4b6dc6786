"""A folder as a dataset repository of the Hugging Face hub."""

from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.constants import is_offline_mode
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils._validators import validate_repo_id

from npo_pipeline.errors import ConfigError, StorageError
from npo_pipeline.shown import one_line, short_repr


def check_pushable(repository: str) -> None:
    """Before anything is made. Raises ConfigError for a name that is none, without a login, and where the hub is not reached."""
    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise ConfigError(
            f"--push {short_repr(repository)}: no name of a repository ({one_line(str(error))}); expected OWNER/NAME"
        ) from None
    if "/" not in repository:
        raise ConfigError(f"--push {repository}: names no owner; expected OWNER/NAME")
    if is_offline_mode():
        raise ConfigError(f"--push {repository}: HF_HUB_OFFLINE is set; unset it, or push the folder later with `hf upload`")
    try:
        HfApi().whoami()
    except Exception as error:  # no token, a wrong one, no network: each raises its own kind
        raise ConfigError(f"--push {repository}: the hub does not know you ({one_line(str(error))}); log in with `hf auth login`") from None


def push(folder: Path, repository: str) -> str:
    """Upload a dataset's folder; a repository that is not there is made, private. Returns its address. Raises StorageError."""
    api = HfApi()
    try:
        address = api.create_repo(repository, repo_type="dataset", private=True, exist_ok=True)
        api.upload_folder(repo_id=repository, repo_type="dataset", folder_path=folder, commit_message="Guides of npo-pipeline")
    except Exception as error:  # as above
        again = f"The folder is whole: hf upload {repository} {folder} --repo-type dataset"
        raise StorageError(f"{repository}: not uploaded ({one_line(str(error))}). {again}") from None
    return str(address)
