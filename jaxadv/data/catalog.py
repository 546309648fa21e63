"""The data sets by name, and where their prepared files lie."""

import dataclasses
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from jaxadv import specs
from jaxadv.files import remote
from jaxadv.plugins import Registry

INFO = "dataset_info.json"  # without it a folder is no prepared set


@dataclasses.dataclass(frozen=True)
class Entry:
    """What is known of a data set before any of its files are read.

    Attributes:
      about: a line.
      version: the version that is written; public sets are read in any version.
      own: made here without a network, so `load` prepares it by itself.
      files: what `--from` reads, a name of `formats.READERS`, or None.
      published: the names of these files, and who publishes them.
      download: tensorflow-datasets can download it and, with TensorFlow
        installed for that one step, prepare it.
      default_config: the configuration that the plain name stands for.
      configs: the names that may follow a slash.
      extra: of this package, that brings what prepares it.
      budgets: threat -> the eps, in [0, 1] units, that networks for it are usually
        judged at: those of RobustBench (Croce et al., "RobustBench: a standardized
        adversarial robustness benchmark", 2021) and of AutoAttack's tables.
    """

    version: str
    about: str
    own: bool = False
    files: str | None = None
    published: str = "its files"
    download: bool = False
    default_config: str | None = None
    configs: tuple[str, ...] = ()
    extra: str = "data"
    budgets: Mapping[str, float] = dataclasses.field(default_factory=dict)


_CIFAR = {"linf": 8 / 255, "l2": 0.5}
_IMAGENET = {"linf": 4 / 255, "l2": 3.0}

DATASETS = Registry(
    "data",
    {
        "mnist5k": Entry(
            "1.0.0",
            "5,000 digits of MNIST, 28x28 gray, 10 classes; no download",
            own=True,
            extra="demo",
        ),
        "shapes": Entry(
            "1.0.0",
            "rendered objects with foreground masks, 32x32 or 64x64",
            own=True,
            default_config="32",
            configs=("32", "64"),
        ),
        "mnist": Entry(
            "3.0.1",
            "digits, 28x28 gray, 10 classes",
            files="idx",
            budgets={"linf": 0.3},
            published="train-images-idx3-ubyte.gz and the three files beside it, of "
            "Yann LeCun's page of MNIST or a mirror",
            download=True,
        ),
        "fashion_mnist": Entry(
            "3.0.1",
            "clothes, 28x28 gray, 10 classes",
            files="idx",
            published="train-images-idx3-ubyte.gz and the three files beside it, of "
            "github.com/zalandoresearch/fashion-mnist",
            download=True,
        ),
        "cifar10": Entry(
            "3.0.2",
            "photographs, 32x32, 10 classes",
            files="cifar",
            published="cifar-10-python.tar.gz of www.cs.toronto.edu/~kriz/cifar.html",
            download=True,
            budgets=_CIFAR,
        ),
        "cifar100": Entry(
            "3.0.2",
            "photographs, 32x32, 100 classes",
            files="cifar",
            published="cifar-100-python.tar.gz of www.cs.toronto.edu/~kriz/cifar.html",
            download=True,
            budgets=_CIFAR,
        ),
        "stl10": Entry("1.0.0", "photographs, 96x96, 10 classes", download=True),
        "tf_flowers": Entry(
            "3.0.1", "photographs of flowers of varying size, 5 classes", download=True
        ),
        "imagenet100": Entry(
            "1.0.0",
            "ImageNet's photographs of 100 classes, of varying size",
            files="imagenet",
            budgets=_IMAGENET,
        ),
        "imagenet10": Entry(
            "1.0.0",
            "photographs of 10 classes of ImageNet, 224x224, 500 + 10 of each",
            files="imagenet10",
        ),
        "segment6": Entry(
            "1.0.0",
            "objects of COCO cut out at 32x32, 6 classes, with their masks",
            files="coco",
        ),
    },
)


def entry(name: str) -> tuple[str, str | None, Entry]:
    """The plain name, the configuration and the entry of `name`.

    Raises:
      specs.UsageError: there is no such data set or configuration.
    """
    known = {}
    for plain, one in DATASETS.data.items():
        known[plain] = lambda p=plain, e=one: (p, e.default_config, e)
        for config in one.configs:
            key = f"{plain}/{config}"
            known[key] = lambda p=plain, c=config, e=one: (p, c, e)
    return specs.lookup(name, known, "dataset")()


def foreign(name: str) -> bool:
    """Whether a set is that of another package."""
    return name.partition("/")[0] not in DATASETS.data and name in DATASETS


def root(data_dir: str | os.PathLike | None = None) -> Path:
    """`data_dir`, else the environment's JAXADV_DATA_DIR, else ./data.

    Raises:
      specs.UsageError: it is remote, and a set can be read from there only.
    """
    where = place(data_dir)
    if remote.is_remote(where):
        raise specs.UsageError(
            f"data_dir is {where!r}, where nothing is written; give a local folder, "
            "and copy it there when it is done"
        )
    return Path(where)


def place(data_dir: str | os.PathLike | None = None) -> str:
    """The same where it may be remote: a path, or a URL."""
    return remote.plain(data_dir or os.environ.get("JAXADV_DATA_DIR") or "data")


def find(
    name: str,
    data_dir: str | os.PathLike | None = None,
    split: str | None = None,
) -> Path | None:
    """The folder with the prepared files of `name`, or None.

    Sets made here are found in their current version only; of a public set the
    highest version present is taken. Of a remote set it is a copy of what tells of the
    set, and of the files of `split`.

    Raises:
      specs.UsageError: it is remote and cannot be read.
    """
    plain, config, known = entry(name)
    folder = "/".join(part for part in (place(data_dir), plain, config) if part)
    try:
        files = remote.glob(folder, f"*/{INFO}")
    except remote.Missing:
        return None
    present = [file.partition("/")[0] for file in files]
    if known.own:
        versions = [v for v in present if v == known.version]
    else:
        numbered = [v for v in present if re.fullmatch(r"\d+\.\d+\.\d+", v)]
        versions = sorted(numbered, key=lambda v: tuple(map(int, v.split("."))))
    if not versions:
        return None
    return remote.here(f"{folder}/{versions[-1]}", of_split(split))


def of_split(split: str | None) -> Callable[[str], bool]:
    """Says of a file of a prepared set whether opening a split reads it.

    What has been decoded elsewhere is not: it is made here.
    """

    def wanted(name: str) -> bool:
        *folders, file = name.split("/")
        if folders:
            return folders == ["masks"] and file.partition(".")[0] == split
        return ".array_record" not in file or f"-{split}.array_record" in file

    return wanted
