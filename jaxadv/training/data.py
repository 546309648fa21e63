"""The images of a training run: those that it learns from, and those held out."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxadv.data import augment, batches, shares, sources
from jaxadv.data import mixing as mixings
from jaxadv.data.sources import Source
from jaxadv.numerics import streams
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
      features: of the images, that attacks want.
      note: what its owner must know of the set, one line, or "".
      extra: what gives a share of every batch, or None.
    """

    train: Source
    held_out: Source | None
    config: settings.Config
    augmentations: tuple[augment.Augmentation, ...] = ()
    features: tuple[str, ...] = ()
    note: str = ""
    extra: Source | None = None

    @property
    def steps_per_epoch(self) -> int:
        return batches.steps_per_epoch(self.train, self.config.batch_size)

    def batches(self, start: int) -> Iterator[dict[str, np.ndarray]]:
        """This process's part of all batches from step `start` on."""
        config = self.config
        which = config.batch_size, config.seed, start
        place = {
            "process_index": jax.process_index(),
            "process_count": jax.process_count(),
        }
        if self.extra is None:
            return batches.train_batches(self.train, *which, **place)
        both = self.train, self.extra, config.data.extra_share
        return shares.train_batches(*both, *which, **place)

    @property
    def fingerprints(self) -> dict[str, int | None]:
        """Checksums of one's own files, as a checkpoint notes them."""
        found = {"fingerprint": self.train.fingerprint}
        if self.extra is not None:
            found["extra_fingerprint"] = self.extra.fingerprint
        return found

    def soften(self, mixing: Any) -> Callable[[Any, Any], Any]:
        """(step, batch) -> the batch with images mixed and labels smoothed."""
        smoothing, classes = self.config.label_smoothing, self.train.num_classes
        if mixing is None and not smoothing:
            return lambda step, batch: batch
        root = streams.stream(jax.random.key(self.config.seed), "mixing")
        per_epoch = self.steps_per_epoch

        def change(step, batch):
            key = jax.random.fold_in(root, step // per_epoch)
            return mixings.soften(mixing, smoothing, classes, key, batch)

        return change

    def check_unchanged(self, meta: Mapping[str, Any], folder: Path) -> None:
        """Checks that the files are those of the notes of a run's checkpoint.

        Raises:
          UsageError: they have changed. Only of one's own data is that known.
        """
        then, now = meta.get("examples"), len(self.train)
        if then is not None and then != now:
            raise UsageError(
                f"config.data.name is {self.config.data.name!r}, of which the run in "
                f"{folder} trained on {then} images and now finds {now}; what it "
                "remembers of single images no longer belongs to them; restore the "
                "data, or give another --workdir"
            )
        fields = self.config.data
        named = {"fingerprint": ("name", fields.name)}
        named["extra_fingerprint"] = ("extra", fields.extra)
        for key, now in self.fingerprints.items():
            then, (field, name) = meta.get(key), named[key]
            if None not in (then, now) and then != now:
                raise UsageError(
                    f"config.data.{field} is {name!r}, whose files have changed since "
                    f"the run in {folder} began (their checksum was {then:08x}, now it "
                    f"is {now:08x}); restore them, or give another --workdir"
                )


def load_data(
    config: settings.Config,
    augmentations: tuple[augment.Augmentation, ...] = (),
    features: tuple[str, ...] = (),
) -> Data:
    """Opens the training split and holds a part of it out.

    Images of varying size are cropped as they are read, so the first crop among the
    augmentations is done there and not again.

    Raises:
      UsageError: the set is missing, or too small for what is asked of it, or has not
        the features that attacks want.
    """
    fields = config.data
    crop, rest = augment.without_crop(augmentations)
    cut = {} if crop is None else dataclasses.asdict(crop)
    train = sources.load(fields.name, "train", fields.data_dir, **cut, **_open(fields))
    _check_size(fields, train)
    _check_features(fields, train, features)
    if features and fields.mix:
        raise UsageError(
            f"config.data.mix is given, but attacks want each image's {features[0]}, "
            "which mixed images have not; leave one of them out"
        )
    augmentations = rest if train.varying else augmentations
    if train.num_classes < 2:
        raise UsageError(
            f"config.data.name: {fields.name} has one class, {train.class_names[0]!r}; "
            "a classifier needs two or more"
        )
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
    held_out, note = None, ""
    if fields.test is None:
        note = sources.no_test(fields.name, fields.data_dir)
    if fields.validation:
        _check_validation(fields, train)
        train, held_out = sources.split_train_validation(
            train, fields.validation, config.seed
        )
    extra = _extra(fields, train, features) if fields.extra else None
    return Data(train, held_out, config, augmentations, features, note, extra)


def _extra(fields, train, features) -> Source:
    """The second set, whose images must be as those of the first."""
    found = sources.load(fields.extra, "train", fields.data_dir)
    if features:
        raise UsageError(
            f"config.data.extra is given, but attacks want each image's {features[0]}; "
            "leave one of them out"
        )
    for what in ("image_shape", "num_classes"):
        here, there = (getattr(one, what) for one in (train, found))
        if here != there:
            raise UsageError(
                f"config.data.extra is {fields.extra!r}, whose {what} is {there}; that "
                f"of {fields.name} is {here}, and both must be the same"
            )
    return found


def _open(fields) -> dict[str, Any]:
    """What else a set is opened with, where it is given."""
    given = {"image_size": fields.image_size, "test": fields.test}
    return {name: value for name, value in given.items() if value is not None}


def _check_size(fields, train):
    size = fields.image_size
    if size is not None and train.image_shape[:2] != (size, size):
        height, width = train.image_shape[:2]
        raise UsageError(
            f"config.data.image_size is {size}, but the images of {fields.name} are "
            f"all {height} x {width}; leave the field out, or resize them in the files"
        )


def _check_features(fields, train, features):
    missing = set(features).difference(train.get(np.arange(1)) if features else ())
    if missing:
        name = min(missing)
        raise UsageError(
            f"config.data.name is {fields.name!r}, whose images have no {name}, which "
            f"an attack of the training or the validation wants; give a set with a "
            f"{name}, as shapes, or another threat.{name}"
        )


def _check_validation(fields, train):
    if fields.validation >= len(train):
        raise UsageError(
            f"config.data.validation is {fields.validation}, but there are only "
            f"{len(train)} images of {fields.name} to train on; give fewer, or 0"
        )
