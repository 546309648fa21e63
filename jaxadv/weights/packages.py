"""Weight files in the folders of installed packages, which are never imported."""

import importlib.util
from pathlib import Path
from typing import NamedTuple


class Packaged(NamedTuple):
    """A weight file that a package brings.

    Attributes:
      package: its name, as it is imported.
      file: path of the file in the package's folder.
      install: what to type where it is missing.
    """

    package: str
    file: str
    install: str

    @property
    def path(self) -> Path | None:
        """The file; None where the package is not installed."""
        found = importlib.util.find_spec(self.package)
        if found is None or found.origin is None:  # or a folder of that name
            return None
        return Path(found.origin).parent / self.file


def _stlpips(net):
    file = f"weights/vST0.0/{net}_shift_tolerant.pth"
    return Packaged("stlpips_pytorch", file, "pip install stlpips_pytorch==0.0.2")


def _lpips(net):
    file = f"weights/v0.1/{net}.pth"
    return Packaged("lpips", file, "pip install lpips --no-deps")


NETWORKS = {"stlpips_alexnet": _stlpips("alex"), "stlpips_vgg16": _stlpips("vgg")}
"""Architecture -> the file with its weights and those of its distance."""

LINEAR = {
    "alexnet": _lpips("alex"),
    "vgg16": _lpips("vgg"),
    "squeeze": _lpips("squeeze"),
    **NETWORKS,
}
"""Network -> the file of the learned weights of its distance."""
