"""The images of a training run: those that it learns from, and those held out."""

import dataclasses
from collections.abc import Iterator

import jax
import numpy as np

from jaxadv.data import augment, batches, sources
from jaxadv.data.sources import Source
from jaxadv.specs import UsageError
from jaxadv.training import settings


@dataclasses.dataclass(frozen=True)
class Data:
    """The training images and those held out of them for validation.

    Attributes:
      train: what is trained on; ids are positions in it.
      held_out: what selects the best checkpoint; may be None.
      config: of the run.
      augmentations: of the training images, after they have been read.
    """

    train: Source
    held_out: Source | None
    config: settings.Config
    augmentations: tuple[augment.Augmentation, ...] = ()

    @property
    def steps_per_epoch(self) -> int:
        return batches.steps_per_epoch(self.train, self.config.batch_size)

    def batches(self, start: int) -> Iterator[dict[str, np.ndarray]]:
        """This process's part of all batches from step `start` on."""
        return batches.train_batches(
            self.train,
            self.config.batch_size,
            self.config.seed,
            start,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        )


def load_data(
    config: settings.Config, augmentations: tuple[augment.Augmentation, ...] = ()
) -> Data:
    """Opens the training split and holds a part of it out.

    Images of varying size are cropped as they are read, so the first crop among the
    augmentations is done there and not again.

    Raises:
      UsageError: the set is missing, or too small for what is asked of it.
    """
    fields = config.data
    crop, rest = augment.without_crop(augmentations)
    cut = {} if crop is None else dataclasses.asdict(crop)
    train = sources.load(fields.name, "train", fields.data_dir, **cut)
    augmentations = rest if train.varying else augmentations
    for name, values in settings.plain(config.normalize).items():
        if len(values) not in (1, train.image_shape[-1]):
            raise UsageError(
                f"config.normalize.{name} is {values}; {fields.name} has "
                f"{train.image_shape[-1]} channels, so give as many numbers, or one"
            )
    if fields.examples is not None and fields.examples < len(train):
        # The same stratified draw as for a validation split.
        _, some = sources.split_train_validation(train, fields.examples, config.seed)
        train = dataclasses.replace(some, split="train")
    held_out = None
    if fields.validation:
        train, held_out = sources.split_train_validation(
            train, fields.validation, config.seed
        )
    return Data(train, held_out, config, augmentations)
