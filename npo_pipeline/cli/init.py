"""`npo init FOLDER`: a folder of one's own, in which `npo run mine` works as it stands."""

import json
import random
from pathlib import Path

from npo_pipeline.errors import ConfigError, StorageError

GIVEN = Path(__file__).parent / "folder"  # the files as they are copied
ROWS = 400


def init(folder: Path) -> None:
    """Raises ConfigError before anything is written if a file is there already, StorageError where the disk refuses."""
    files = {file.relative_to(GIVEN): file.read_text(encoding="utf-8") for file in sorted(GIVEN.rglob("*")) if file.is_file()}
    files[Path("rows.jsonl")] = "".join(json.dumps(row) + "\n" for row in sums())
    try:
        for name in files:
            if (folder / name).exists():
                raise ConfigError(f"{folder / name}: exists already, and nothing is overwritten; name another folder")
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise StorageError(f"{error.filename}: {error.strerror}; name a folder that can be written to") from None
    print(f"{folder}: made. Edit {folder / 'conf/experiment/mine.yaml'}, then: cd {folder} && npo run mine")


def sums() -> list[dict[str, str]]:
    """Different ones of two numbers below 60, always the same: rows to begin with."""
    chosen = random.Random(0).sample(range(60 * 60), ROWS)
    return [{"question": f"{pair // 60} + {pair % 60} =", "answer": str(pair // 60 + pair % 60)} for pair in chosen]
