"""Segment-6: small squares around objects of COCO, with the objects' masks."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from jaxadv import specs
from jaxadv.data import images
from jaxadv.data.formats.contents import Contents, damaged

CLASSES = ("train", "bird", "cat", "dog", "toilet", "clock")
COUNTS = {"train": 3000, "test": 200}  # images of a class
SIZE = 32  # pixels a side
_PARTS = ("train2017", "val2017")  # folders of images, and the years of annotations


@dataclasses.dataclass(frozen=True)
class _Object:
    """The largest object of one photograph, outlined by polygons of x, y, x, y, …"""

    file: Path
    label: str
    key: int
    polygons: list[list[float]]
    box: tuple[float, float, float, float]  # left, top, width, height


def read_segment6(path: Path, name: str) -> Contents:
    """Reads `annotations/instances_{train,val}2017.json` and the photographs they name.

    Classes and counts are those of Tong et al., "Towards robustness against
    unsuspicious adversarial examples", table 1. How objects were cut out and which of
    them is not printed; here a photograph gives one image, of its largest object in the
    six classes that is no crowd. The square around its bounding box, moved into the
    photograph, is scaled to 32x32, and a pixel is foreground where at least half of it
    lies on the object. The test images are the first of a class by photograph number,
    the training images those after them.

    Args:
      path: the folder with `annotations`, `train2017` and `val2017`.
      name: of the set.

    Raises:
      specs.UsageError: a file is missing or damaged, or a class has too few objects.
    """
    found: dict[str, list[_Object]] = {label: [] for label in CLASSES}
    for part in _PARTS:
        for one in _objects(path, part):
            found[one.label].append(one)
    splits: dict[str, list[_Object]] = {split: [] for split in COUNTS}
    for label, objects in found.items():
        objects.sort(key=lambda one: one.key)
        needed = sum(COUNTS.values())
        if len(objects) < needed:
            raise specs.UsageError(
                f"{path}: there are {len(objects)} photographs of a {label}, {needed} "
                "are needed"
            )
        start = 0
        for split in reversed(list(COUNTS)):  # the test images first
            splits[split] += objects[start : start + COUNTS[split]]
            start += COUNTS[split]
    return Contents(
        shape=(SIZE, SIZE, 3),
        class_names={"label": CLASSES},
        splits={s: lambda some=some: _examples(some) for s, some in splits.items()},
        text=("file_name",),
        masked=True,
    )


def _objects(path: Path, part: str) -> Iterator[_Object]:
    """The largest object of each photograph of a part that shows one of the classes."""
    file = path / "annotations" / f"instances_{part}.json"
    if not file.is_file():
        raise specs.UsageError(f"{file}: the file is missing")
    try:
        content = json.loads(file.read_bytes())
        label = {one["id"]: one["name"] for one in content["categories"]}
        files = {one["id"]: str(one["file_name"]) for one in content["images"]}
        largest: dict[int, dict[str, Any]] = {}
        for one in content["annotations"]:
            if one.get("iscrowd") or label[one["category_id"]] not in CLASSES:
                continue
            before = largest.get(one["image_id"])
            if before is None or one["area"] > before["area"]:
                largest[one["image_id"]] = one
        for key, one in largest.items():
            yield _Object(
                path / part / Path(files[key]).name,
                label[one["category_id"]],
                int(key),
                [[float(x) for x in p] for p in one["segmentation"] if len(p) > 5],
                _box(one["bbox"]),
            )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise damaged(file, f"it holds no annotations of COCO ({error!r})") from None


def _box(values) -> tuple[float, float, float, float]:
    left, top, width, height = map(float, values)
    return left, top, width, height


def _examples(objects: list[_Object]) -> Iterator[tuple[str, dict]]:
    for one in objects:
        if not one.file.is_file():
            raise specs.UsageError(f"{one.file}: the file is missing")
        photograph = images.decode(images.read(one.file), one.file, "RGB")
        mask = Image.new("L", photograph.size)
        draw = ImageDraw.Draw(mask)
        for polygon in one.polygons:
            draw.polygon(polygon, fill=255)
        box = _square(one.box, *photograph.size)
        small = (SIZE, SIZE), Image.Resampling.BILINEAR, box
        share = np.asarray(mask.resize(*small))[..., None]
        yield (
            f"{one.label}/{one.key}",
            {
                "image": np.asarray(photograph.resize(*small)),
                "mask": (share >= 128).astype(np.uint8),
                "label": one.label,
                "file_name": one.file.name,
            },
        )


def _square(box, width: int, height: int) -> tuple[float, float, float, float]:
    """The square around a box, no larger than the photograph and moved into it."""
    left, top, w, h = box
    side = min(max(w, h, 1.0), width, height)
    left = min(max(left + (w - side) / 2, 0.0), width - side)
    top = min(max(top + (h - side) / 2, 0.0), height - side)
    return left, top, left + side, top + side
