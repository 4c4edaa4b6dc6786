"""Its place puts this folder on the import path; beside it lie the helpers of the integration tests, which these share."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "integration"))
