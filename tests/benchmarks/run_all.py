"""Every benchmark of this folder, one after the other, each in a process of its own; what one of them has made, another finds.

    python tests/benchmarks/run_all.py --out DIR [--smallest]

Each bench_*.py also runs alone, with more options (--help). Each prints a table and writes a JSON of it to DIR.
"""

import subprocess
import sys
from pathlib import Path

from harness import environment, parser

HERE = Path(__file__).resolve().parent


def main() -> None:
    arguments = parser(__doc__).parse_args()
    failed = [file.name for file in benchmarks() if not succeeds(file, arguments.out, arguments.smallest)]
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def benchmarks() -> list[Path]:
    return sorted(HERE.glob("bench_*.py"))


def succeeds(file: Path, out: Path, smallest: bool) -> bool:
    print(f"\n{file.stem}", flush=True)
    command = [sys.executable, str(file), "--out", str(out), *(["--smallest"] if smallest else [])]
    return subprocess.run(command, env=environment()).returncode == 0


if __name__ == "__main__":
    main()
