"""Value checks of the configuration: what would only fail later, or fail to mean anything, is refused here.

Each check names the key, what was found and what is expected (require.py). A file per group of keys, as in settings/;
`root.py` goes through a whole configuration, `stage.py` through a stage's own. Nothing heavy is imported.
"""

from npo_pipeline.configuration.checks.root import check_root
from npo_pipeline.configuration.checks.stage import check_stage
from npo_pipeline.configuration.checks.training import merge_grpo

__all__ = ["check_root", "check_stage", "merge_grpo"]
