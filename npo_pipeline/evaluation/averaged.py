"""The averaged policy of a finished run: the mean of its last checkpoints, as an ordinary Hugging Face directory beside them.

Averaging at the end makes a policy better whatever it was trained by, so every run is averaged alike: over checkpoints that all keep.
"""

import shutil

from npo_pipeline.configuration.grid import averaged_steps
from npo_pipeline.configuration.stages import AverageStage
from npo_pipeline.policy.average import acting, mean_of
from npo_pipeline.policy.checkpoints import Walk
from npo_pipeline.policy.device import pick_device
from npo_pipeline.policy.identity import identity
from npo_pipeline.policy.policy import export_policy, load_policy
from npo_pipeline.storage.layout import Layout
from npo_pipeline.storage.lock import only_writer
from npo_pipeline.storage.manifest import read_manifest, write_manifest


def average_run(config: AverageStage, config_sha256: str, layout: Layout, run: str) -> None:
    """Write policy-averaged/ of the run, with its manifest; an adapter is merged. Raises ArtifactError if a checkpoint is not there.

    On the CPU, whatever samples afterwards: it takes a policy, the float32 sum of what was trained, and its mean.
    """
    folder, made = layout.policy_averaged(run), read_manifest(layout.run(run))
    steps = averaged_steps(config.every, config.last, made["steps"], made.get("start", 0), config.checkpoints)
    with only_writer(layout.run(run), ".average.lock"):
        shutil.rmtree(folder, ignore_errors=True)
        walk = Walk(layout.run(run), steps[0], pick_device("cpu"))
        dtype = str(walk.policy.model.dtype).removeprefix("torch.")
        with acting(walk.policy.model, mean_of(walk, steps)):
            export_policy(walk.policy, folder)
        facts = {"run": run, "average_of": steps, "policy_sha256": identity(load_policy(folder, dtype))}
        write_manifest(folder, "average", config_sha256, folder.rglob("*"), facts)
