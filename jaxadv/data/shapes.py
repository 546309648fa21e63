"""Builder of `shapes`: rendered colored objects with exact foreground masks."""

import numpy as np
import tensorflow_datasets as tfds

from jaxadv.data import catalog, rendering

_SIZES = {"train": 6000, "test": 1200}


class Shapes(tfds.core.GeneratorBasedBuilder):
    """Six classes of objects: 6,000 scenes for training, 1,200 for testing.

    Features: `image` uint8 [size, size, 3]; `mask` uint8 [size, size, 1], 1 on
    the object; `label`; `id`, the number of the scene in its split.
    """

    VERSION = tfds.core.Version(catalog.DATASETS["shapes"].version)
    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(name=name, description=f"{name} pixels a side")
        for name in catalog.DATASETS["shapes"].configs
    ]

    def _info(self):
        size = self._size()
        image = tfds.features.Tensor(shape=(size, size, 3), dtype=np.uint8)
        mask = tfds.features.Tensor(shape=(size, size, 1), dtype=np.uint8)
        return tfds.core.DatasetInfo(
            builder=self,
            description="Colored objects on textured backgrounds, with masks.",
            features=tfds.features.FeaturesDict(
                {
                    "image": image,
                    "mask": mask,
                    "label": tfds.features.ClassLabel(names=rendering.CLASSES),
                    "id": tfds.features.Scalar(dtype=np.int64),
                }
            ),
            supervised_keys=("image", "label"),
        )

    def _size(self) -> int:
        return int(self.builder_config.name)  # pyright: ignore

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split) for split in _SIZES}

    def _generate_examples(self, split):
        for index in range(_SIZES[split]):
            scene = rendering.render(split, index, self._size())
            example = {"image": scene.image, "mask": scene.mask, "label": scene.label}
            yield index, {**example, "id": index}
