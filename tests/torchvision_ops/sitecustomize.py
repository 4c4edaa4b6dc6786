"""On PYTHONPATH of a test's processes: declares the two operators that the torchvision of PyPI lacks beside a CPU build of torch.

Without them `import torchvision` fails there, though nothing here calls them. A machine with a torchvision of its torch's kind needs
none of this. It is an import hook, since vLLM starts processes of its own.
"""

import sys


class DeclareOperators:
    """Finds nothing; the first time somebody looks for torchvision, its operators are declared."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == "torchvision":
            sys.meta_path.remove(self)
            import torch

            self.library = torch.library.Library("torchvision", "DEF")
            for kind in ("nms", "qnms"):
                self.library.define(f"{kind}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            sys.torchvision_operators = self  # kept: they go with the library


sys.meta_path.insert(0, DeclareOperators())
