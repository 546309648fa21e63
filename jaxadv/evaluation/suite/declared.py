"""The fields of a suite config, all optional but `attacks`; see `jaxadv.schema`."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxadv import schema
from jaxadv.attacks import ATTACKS
from jaxadv.perceptual import DISTANCES
from jaxadv.perceptual.saliency import SALIENCY
from jaxadv.schema import Kind, Spec
from jaxadv.specs import static

LEVELS = ("cheap", "full", "none")
Labels = tuple | None


@dataclasses.dataclass(frozen=True)
class Data:
    """The data set."""

    name: str | None = static(
        None,
        help="a prepared data set, or npz:FILE, folder:DIR or tfds:NAME; None: the "
        "checkpoint's",
    )
    data_dir: str | None = static(
        None,
        help="where prepared data sets lie, and relative paths of npz: and folder: "
        "begin; a folder, or a URL as gs://bucket/data; None: as in training",
    )
    image_size: int | None = static(
        None,
        minimum=1,
        unit="pixels",
        help="for sets whose images vary in size: side of the squares made of them; "
        "None: as in training",
    )


@dataclasses.dataclass(frozen=True)
class Curve:
    """Accuracy against eps."""

    attack: Spec | None = schema.spec(
        Kind(ATTACKS), help="whose accuracy is drawn against eps; None: no curve"
    )
    eps: tuple[float, ...] | None = static(
        None, above=0, help="ascending budgets; None: `points` up to `up_to` x eps"
    )
    points: int = static(10, minimum=1, help="how many, where `eps` is None")
    up_to: float = static(
        2.0, above=0, unit="multiples of eps", help="the last, where `eps` is None"
    )
    examples: int | None = static(
        None, minimum=0, help="the first images of the draw; 0 or None: all"
    )


@dataclasses.dataclass(frozen=True)
class Sweep:
    """One attack at several budgets.

    Attributes:
      attacks: labels, the budgets ascending.
      ata: accuracies to compare with, as fractions, one for each; or None.
    """

    attacks: tuple = static((), help="labels of one attack at ascending budgets")
    ata: tuple | None = static(
        None, help="accuracies of networks trained against it, one each, for UAR"
    )


@dataclasses.dataclass(frozen=True)
class About:
    """What no run can know of itself."""

    link: Any = static("", help="of the paper, for the RobustBench file")
    name: Any = static("", help="of the method, for that file")
    authors: Any = static("", help="for that file")
    additional_data: Any = static(False, help="whether there was more training data")
    venue: Any = static("", help="for that file")
    reported: Any = static("", help="the accuracy that the authors report")
    footnote: Any = static("", help="for that file")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scope:
    """The fields that are as they are given."""

    name: str = static("suite", help="of the suite and of its default output folder")
    split: str = static("test", help="of the data set")
    examples: int | None = static(
        None, minimum=0, help="how many images, drawn by the seed; 0 or None: all"
    )
    seed: int = schema.seed("of the draw of the images and of the attacks")
    batch_size: int = static(128, minimum=1, help="images at a time on each device")
    chunk_steps: int = static(
        5,
        minimum=1,
        help="at most so many attack steps between looks for finished images; changes "
        "no result: more compile longer and waste steps on finished images",
    )
    draws: int = static(
        1,
        minimum=1,
        help="keys over whose mean prediction a random network is judged",
    )
    metrics: tuple = static(
        (), help="names or paths of metrics of other packages, told beside ours"
    )
    pictures: int = static(6, minimum=0, help="images in each picture grid; 0: none")
    checks: str = static(
        "cheap",
        choices=LEVELS,
        help="of the result (see jaxadv.evaluation.checks); full runs attacks again",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fields(Scope):
    """Every field of a suite config."""

    attacks: Mapping = schema.spec(
        Kind(ATTACKS),
        {},
        labeled=True,
        help="label -> attack; an eps of None is that of config.eps",
    )
    eps: float | None = static(
        None,
        minimum=0,
        unit="the threat's unit",
        help="for the attacks without one; None: the eps of the checkpoint's training, "
        "in the same threat",
    )
    data: Data = schema.group(Data, "the data set; None: the checkpoint's")
    unions: Mapping[str, Labels] | None = static(
        {"union": None}, help="name -> labels to report together; None: all"
    )
    cascades: Mapping | None = static(
        {},
        help="name -> labels of attacks that run in this order, after the others, each "
        "on the images which those before have left; accuracies are cumulative, the "
        "last is reported as the union `name`, and means count it alone",
    )
    sweeps: Mapping | None = static(
        {}, help="name -> one attack at ascending budgets in one row; with ata, UAR"
    )
    seen: Labels = static(
        None,
        help="labels that training has seen; None: those in a threat of its attacks",
    )
    notes: Mapping | None = static(
        {}, help="label -> what a reader of its accuracy must know, reported beside it"
    )
    means: Labels = static(
        None,
        help="labels that means over unseen and all attacks count; None: all, a "
        "cascade once",
    )
    curve: Curve = schema.group(Curve, "accuracy against eps")
    distances: Mapping | None = schema.spec(
        Kind(DISTANCES),
        {},
        labeled=True,
        help="name -> distance, measured for every returned image",
    )
    saliency: Spec | None = schema.spec(
        Kind(SALIENCY),
        help="a network of where people look, as `jaxadv saliency` trains one: the "
        "foreground's share of looks is told of clean and of returned images and drawn "
        "over the pictures; the data set must have masks",
    )
    overlap: Labels = static(
        None,
        help="labels whose sets of broken images are drawn side by side; None: all, of "
        "more than eight those that break most; (): none",
    )
    black_box: Spec = schema.spec(
        Kind(ATTACKS, needed=True),
        {"name": "square", "steps": 500},
        help="attack without gradients and without threat that the full checks run in "
        "each lp ball for which the suite has none",
    )
    about: About = schema.group(About, "for the RobustBench file, what no run can know")


KINDS = schema.kinds(Fields)
