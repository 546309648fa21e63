"""Files as their authors publish them, tiny; and sources of arrays."""

import gzip
import io
import itertools
import json
import pickle
import struct

import numpy as np
from PIL import Image

from jaxadv.data import sources
from jaxadv.data.formats import coco


def blank_digits():
    return np.zeros((12, 28, 28), np.uint8), np.zeros(12, np.uint8)


def write_idx(folder, images, labels, *, zipped=False):
    folder.mkdir(parents=True, exist_ok=True)
    for prefix, rows in (("train", slice(0, 8)), ("t10k", slice(8, None))):
        for stem, array in (("images-idx3", images), ("labels-idx1", labels)):
            part = array[rows]
            data = bytes((0, 0, 8, part.ndim))
            data += struct.pack(f">{part.ndim}I", *part.shape) + part.tobytes()
            name = f"{prefix}-{stem}-ubyte"
            if zipped:
                (folder / f"{name}.gz").write_bytes(gzip.compress(data))
            else:
                (folder / name).write_bytes(data)


def python2_batch(images, labels):
    """A CIFAR batch as Python 2 pickled it, opcode by opcode."""
    pixels = images.transpose(0, 3, 1, 2).tobytes()
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntU\x01btR"
        b"(I1\n(I%d\nI3072\ntcnumpy\ndtype\n(U\x02u1I0\nI1\ntR"
        b"(I3\nU\x01|NNNI-1\nI-1\nI0\ntbI00\nT%btb"
    ) % (len(images), struct.pack("<I", len(pixels)) + pixels)
    listed = b"".join(b"I%d\n" % label for label in labels)
    return b"\x80\x02}(U\x04data" + array + b"U\x06labels](" + listed + b"eu."


def write_cifar10(folder, images, labels):
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(6):
        name = f"data_batch_{i + 1}" if i < 5 else "test_batch"
        rows = slice(2 * i, 2 * i + 2)
        (folder / name).write_bytes(python2_batch(images[rows], labels[rows]))
    names = [f"class{i}".encode() for i in range(10)]
    meta = pickle.dumps({b"label_names": names}, protocol=2)
    (folder / "batches.meta").write_bytes(meta)


def write_cifar100(folder, images, labels):
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in (("train", slice(0, 8)), ("test", slice(8, 12))):
        batch = {
            b"data": images[rows].transpose(0, 3, 1, 2).reshape(-1, 3072),
            b"fine_labels": labels[rows].tolist(),
            b"coarse_labels": (labels[rows] // 5).tolist(),
        }
        (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
    meta = {
        b"fine_label_names": [b"f%d" % i for i in range(100)],
        b"coarse_label_names": [b"c%d" % i for i in range(20)],
    }
    (folder / "meta").write_bytes(pickle.dumps(meta, protocol=2))


def assert_holds(source, images, labels):
    """`source` has exactly these examples, in whatever order."""
    got = source.get(np.arange(len(source)))
    pairs = zip(got["image"], got["label"], strict=True)
    want = zip(images, labels, strict=True)
    assert sorted((x.tobytes(), int(y)) for x, y in pairs) == sorted(
        (x.tobytes(), int(y)) for x, y in want
    )


def jpeg(color, size=(40, 30)):
    file = io.BytesIO()
    Image.new("RGB", size, color).save(file, "JPEG", quality=95)
    return file.getvalue()


def write_imagenet(folder, classes, per_class=1):
    """Every image of class i is filled with the color (i, 255 - i, 128)."""
    wnids = [f"n{i:08d}" for i in range(classes)]
    for part, (i, wnid) in itertools.product(("train", "val"), enumerate(wnids)):
        place = folder / part / wnid
        place.mkdir(parents=True)
        if classes == 1000 and i % 10:
            continue  # unused classes stay empty
        shade = i // 10 if classes == 1000 else i
        for k in range(per_class):
            data = jpeg((shade, 255 - shade, 128))
            (place / f"{wnid}_{k}.JPEG").write_bytes(data)
    return wnids


def toy(n=20, classes=2, **kwargs):
    """A source whose image i is filled with the value i."""
    images = np.tile(np.arange(n, dtype=np.uint8)[:, None, None, None], (1, 2, 2, 1))
    return sources.from_arrays(images, np.arange(n) % classes, **kwargs)


def write_coco(folder, photographs):
    """A folder of COCO: photographs [h, w, 3] uint8 with their objects.

    Args:
      photographs: (part, number, pixels, objects), an object being its class, polygons,
        area and whether it is a crowd.
    """
    names = ["person", *coco.CLASSES]
    for part in ("train2017", "val2017"):
        images, annotations = [], []
        (folder / part).mkdir(parents=True)
        for where, number, pixels, objects in photographs:
            if where != part:
                continue
            file = f"{number:012d}.png"
            Image.fromarray(pixels).save(folder / part / file)
            images.append({"id": number, "file_name": file})
            for label, polygons, area, crowd in objects:
                xs, ys = (np.concatenate([p[i::2] for p in polygons]) for i in (0, 1))
                left, top = float(min(xs)), float(min(ys))
                one = {"image_id": number, "category_id": names.index(label)}
                one |= {"segmentation": polygons, "area": area, "iscrowd": crowd}
                one["bbox"] = [left, top, float(max(xs)) - left, float(max(ys)) - top]
                annotations.append(one)
        categories = [{"id": i, "name": name} for i, name in enumerate(names)]
        content = {"images": images, "annotations": annotations}
        place = folder / "annotations" / f"instances_{part}.json"
        place.parent.mkdir(exist_ok=True)
        place.write_text(json.dumps({**content, "categories": categories}))
