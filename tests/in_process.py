"""An experiment whose stages are called in this process, in a folder of its own: what Snakemake does, without its start and theirs."""

import shutil
from argparse import Namespace
from collections.abc import Sequence
from copy import copy
from importlib import import_module
from pathlib import Path
from typing import Any

from npo_pipeline.configuration.compose import load_root, load_stage, stage_configs, to_yaml
from npo_pipeline.context import Context
from npo_pipeline.storage.layout import Layout

OPTIONS = {"device": "cpu", "workers": 1, "save_every": 10, "rank_timeout": 1800, "recompute_activations": False, "report_to": []}
OPTIONS |= {"job": None, "jobs": 1, "gather": False, "policy": None, "average": None, "curve": None}


class Experiment:
    """`overrides` as a shell would split them; its files lie in `root` as in results/<experiment>."""

    def __init__(self, root: Path, overrides: str | Sequence[str], prepare: Path | None = None) -> None:
        self.root, self.layout = root, Layout(root)
        self.stages = stage_configs(load_root("default", overrides))
        (root / "config").mkdir(parents=True)
        for name, values in self.stages.items():
            (root / f"config/{name}.yaml").write_text(to_yaml(values))
        if prepare:
            (root / "prepare").symlink_to(prepare.resolve())

    def copied(self, root: Path) -> "Experiment":
        """The same with all that it has made, in a folder of its own."""
        shutil.copytree(self.root, root, symlinks=True)
        found = copy(self)
        found.root, found.layout = root, Layout(root)
        return found

    def run(self, name: str, **options: Any) -> None:
        """A stage by the name of its configuration: guided-npo. Raises what it raises."""
        path, stage = self.root / f"config/{name}.yaml", name.split("-")[0]
        module = import_module(f"npo_pipeline.stages.{stage}")
        config, digest = load_stage(path, module.run.__annotations__["context"].__args__[0])
        given = Namespace(config=path, root=None, seed=0, **OPTIONS | options)
        module.run(Context(config, digest, self.layout, given))

    def run_all(self, *names: str) -> None:
        for name in names:
            self.run(name)
