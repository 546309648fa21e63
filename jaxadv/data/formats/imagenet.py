"""ImageNet as a tree of folders, one a class, cut down to a hundred or ten classes."""

import re
from collections.abc import Iterator
from pathlib import Path

from jaxadv import specs
from jaxadv.data import crops, images
from jaxadv.data.formats.contents import Contents

_FOLDERS = {"train": "train", "validation": "val"}
_SUFFIXES = (".jpeg", ".jpg", ".png")

# The paper names its ten classes; which of ImageNet's classes they are is our choice.
TEN = {
    "n02690373": "airplane",  # airliner
    "n04285008": "car",  # sports car
    "n02123045": "cat",  # tabby
    "n02099601": "dog",  # golden retriever
    "n04467665": "truck",  # trailer truck
    "n02504458": "elephant",  # African elephant
    "n02391049": "zebra",
    "n04146614": "bus",  # school bus
    "n02132136": "bear",  # brown bear
    "n03792782": "bicycle",  # mountain bike
}
SIDE = 224  # pixels of the ten classes' images
_PARTS = {"train": "train", "test": "val"}
COUNTS = {"train": 500, "test": 10}  # images of a class


def read_imagenet(path: Path, name: str) -> Contents:
    """Reads `train/<wnid>/*.JPEG` and `val/<wnid>/*.JPEG`.

    Of a tree of 1,000 classes every tenth is taken, in the order of their
    WordNet IDs (Laidlaw, Singla and Feizi, "Perceptual Adversarial Robustness",
    2021); a tree of exactly 100 classes is taken whole. Files are written as
    they are, without re-encoding, once they have been decoded as a check.

    Raises:
      specs.UsageError: a folder is missing or empty, or the tree has another
        number of classes. A damaged image raises it when its turn comes.
    """
    wnids = _select(path / "train")
    files = {}
    for split, folder in _FOLDERS.items():
        files[split] = [f for wnid in wnids for f in _images(path / folder / wnid)]
    return Contents(
        shape=None,
        class_names={"label": tuple(wnids)},
        splits={s: lambda found=found: _examples(found) for s, found in files.items()},
        text=("file_name",),
    )


def read_imagenet10(path: Path, name: str) -> Contents:
    """Reads 500 images of `train/<wnid>` and 10 of `val/<wnid>` of each of ten classes.

    Classes and numbers of images are those of Tong et al., "Towards robustness against
    unsuspicious adversarial examples", table 3. Which images and which WordNet IDs were
    taken there is not printed, nor their size: here it is the first files by name, and
    `TEN`, at 224x224 (`crops.center`), so that masks can be stored beside them.

    Raises:
      specs.UsageError: a folder is missing or has too few images.
    """
    files = {}
    for split, count in COUNTS.items():
        folder = path / _PARTS[split]
        found = {wnid: _images(folder / wnid)[:count] for wnid in TEN}
        for wnid, some in found.items():
            if len(some) < count:
                raise specs.UsageError(
                    f"{folder / wnid}: there are {len(some)} images in it, {count} are "
                    "needed"
                )
        files[split] = [file for some in found.values() for file in some]

    def examples(split):
        for key, example in _examples(files[split]):
            image = crops.center(example["image"], SIDE)
            yield key, {**example, "image": image, "label": TEN[example["label"]]}

    return Contents(
        shape=(SIDE, SIDE, 3),
        class_names={"label": tuple(TEN.values())},
        splits={split: lambda split=split: examples(split) for split in files},
        text=("file_name",),
    )


def _select(folder: Path) -> list[str]:
    if not folder.is_dir():
        raise specs.UsageError(f"{folder}: the folder is missing")
    names = [p.name for p in folder.iterdir() if p.is_dir()]
    wnids = sorted(n for n in names if re.fullmatch(r"n\d{8}", n))
    if len(wnids) not in (100, 1000):
        raise specs.UsageError(
            f"{folder} holds {len(wnids)} class folders (n followed by 8 digits); "
            "it must hold all 1000, or the 100 to be used"
        )
    return wnids if len(wnids) == 100 else wnids[::10]


def _images(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise specs.UsageError(f"{folder}: the folder is missing")
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in _SUFFIXES)
    if not files:
        raise specs.UsageError(f"{folder}: there are no images in it")
    return files


def _examples(files: list[Path]) -> Iterator[tuple[str, dict]]:
    for file in files:
        data, wnid = images.read(file), file.parent.name
        # An eighth of the size is enough to see a broken stream.
        images.decode(data, file, draft=(1, 1))
        example = {"image": data, "label": wnid, "file_name": file.name}
        yield f"{wnid}/{file.name}", example
