"""Where libraries keep their caches when there is no home to write to: a container's user often has none.

They would end in a traceback, each in its own words (Snakemake, datasets, matplotlib, vLLM, torch).
"""

import os
import tempfile
from pathlib import Path

VARIABLES = ("XDG_CACHE_HOME", "XDG_CONFIG_HOME")  # below them all of these libraries look, unless their own variable is set


def usable_caches() -> None:
    """Set what is unset, to a folder of this user's that is kept between calls, where the home folder cannot be written to."""
    if has_home():
        return
    folder = Path(tempfile.gettempdir()) / f"npo-home-{os.getuid()}"
    for variable in VARIABLES:
        os.environ.setdefault(variable, str(folder / variable.lower()))
    os.environ.setdefault("HF_HOME", str(folder / "huggingface"))
    os.environ.setdefault("TRITON_CACHE_DIR", str(folder / "triton"))


def cache_folder() -> Path:
    """Where this project keeps what may be lost. Raises nothing: a home that cannot be written to has its substitute by then."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "npo-pipeline"


def has_home() -> bool:
    """Whether there is one to write to: tried, as permissions do not tell (a read-only mount, a user without an entry)."""
    try:
        with tempfile.TemporaryFile(dir=Path.home()):
            return True
    except (OSError, RuntimeError):
        return False
