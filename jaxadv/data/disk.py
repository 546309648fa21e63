"""A tfds builder that writes data sets found in files."""

import io
import os

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from jaxadv.data.formats import Contents


class FromFiles(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Writes `contents` under the name, version and features of a public set.

    Row numbers serve as keys, as they do in the public builders, so the order of
    the prepared examples is theirs too.
    """

    def __init__(
        self, contents: Contents, name: str, version: str, data_dir: os.PathLike
    ):
        self.name = name  # pyright: ignore[reportAttributeAccessIssue]
        self.VERSION = tfds.core.Version(version)
        self._contents = contents
        super().__init__(data_dir=data_dir, file_format="array_record")

    def _info(self):
        contents = self._contents
        features: dict[str, tfds.features.FeatureConnector] = {
            "image": tfds.features.Image(shape=contents.shape)
        }
        for field, names in contents.class_names.items():
            features[field] = tfds.features.ClassLabel(names=names)
        for field in contents.text:
            features[field] = tfds.features.Text()
        if contents.masked and contents.shape:
            shape = (*contents.shape[:2], 1)
            features["mask"] = tfds.features.Tensor(shape=shape, dtype=np.uint8)
        return tfds.core.DatasetInfo(
            builder=self,
            description=f"{self.name}, prepared from files on disk.",
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label"),
        )

    def _split_generators(self, dl_manager):
        return {
            split: self._generate_examples(split) for split in self._contents.splits
        }

    def _generate_examples(self, split):
        for key, example in self._contents.splits[split]():
            if self._contents.shape is not None:
                example = {**example, "image": _png(example["image"])}
            yield key, example


def _png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    squeezed = image[..., 0] if image.shape[-1] == 1 else image
    Image.fromarray(squeezed).save(file, "PNG", compress_level=1)
    return file.getvalue()
