"""Every field of a training config, declared once."""

import dataclasses
from collections.abc import Mapping

from jaxadv import completion, schema
from jaxadv.attacks import ATTACKS
from jaxadv.data.mixing import MIXINGS
from jaxadv.defenses import DEFENSES
from jaxadv.models import MODELS
from jaxadv.schema import Kind
from jaxadv.specs import static
from jaxadv.training import optim
from jaxadv.training.awp import Awp

PIXELS = "[0, 1] units"
UNTIL = static(
    None, minimum=1, help="the last epoch of this phase, counted from the run's first"
)


@dataclasses.dataclass(frozen=True)
class Data:
    """The training images."""

    name: str = static(
        "mnist5k", help="a prepared data set, or npz:FILE, folder:DIR or tfds:NAME"
    )
    augment: tuple = static(
        (),
        help="names or specs of augmentations, first to last; stored images of varying "
        "size are cropped once, as resized_crop says or by its defaults",
    )
    mix: Mapping = schema.spec(
        Kind(MIXINGS),
        {},
        help="cutmix or mixup: pairs of images become one, after `augment`",
    )
    extra: str | None = static(
        None,
        help="a second set of the same classes, as npz:FILE of generated images, that "
        "gives a share of every batch; None: no",
    )
    extra_share: float = static(
        0.7, above=0, below=1, help="of each batch that is of the second set"
    )
    validation: int = static(
        400, minimum=0, help="training images held out to select the best checkpoint"
    )
    examples: int | None = static(
        None,
        minimum=1,
        help="use only so many of the training images, drawn by class; None: all",
    )
    data_dir: str | None = static(
        None,
        help="where prepared data sets lie, and relative paths of npz: and folder: "
        "begin; a folder, or a URL as gs://bucket/data",
    )
    image_size: int | None = static(
        None,
        minimum=1,
        unit="pixels",
        help="for sets whose images vary in size: side of the squares made of them; "
        "None: 224 for prepared sets, and folders have one size",
    )
    test: float | None = static(
        None,
        above=0,
        help="for sets without a test split: a fraction, or a number, of the images is "
        "held out as one, by class, the same for all runs",
    )


@dataclasses.dataclass(frozen=True)
class Normalize:
    """What happens to pixels inside the network."""

    mean: tuple[float, ...] = static((0.0,), help="of each channel", unit=PIXELS)
    std: tuple[float, ...] = static(
        (1.0,), above=0, help="of each channel", unit=PIXELS
    )


@dataclasses.dataclass(frozen=True)
class Validation:
    """How the best checkpoint is selected."""

    attack: Mapping = schema.spec(
        Kind(ATTACKS, {"keep": "best"}),
        {},
        help="attack of the validation; default: PGD in the training's threat",
    )
    steps: int = static(20, minimum=1, help="steps of that default")
    batch_size: int = static(
        500, minimum=1, help="images of one validation step, over all devices"
    )


@dataclasses.dataclass(frozen=True)
class Log:
    """Who else is told of a run; it may change when the run is resumed."""

    wandb: str | None = static(
        None, help="a project of Weights & Biases (pip install jaxadv[wandb]); None: no"
    )


@dataclasses.dataclass(frozen=True)
class Training:
    """Every field of a training config; clean training of a small network."""

    seed: int = schema.seed("of the initial weights, the order of the data and attacks")
    epochs: int = static(10, minimum=1, help="passes over the training data")
    batch_size: int = static(
        128, minimum=1, help="images of one step, over all devices of all hosts"
    )
    accumulate_steps: int = static(
        1,
        minimum=1,
        help="equal parts of a device's images that a step attacks and differentiates "
        "in turn, so that only one of them is held in memory; the step takes the mean "
        "gradient",
    )
    clean_epochs: int = static(
        0, minimum=0, help="epochs of clean training before everything else"
    )
    phases: Mapping = schema.spec(
        Kind(DEFENSES, beside={"until": UNTIL}),
        {},
        labeled=True,
        help="defenses that come before the config's own: label -> defense, and the "
        "epoch, `until`, that it ends with",
    )
    label_smoothing: float = static(
        0.0,
        minimum=0,
        below=1,
        help="probability that all classes share evenly in what is learned",
    )
    awp: Awp = schema.group(Awp, "perturbs the weights in each step")
    ema_decay: float | None = static(
        None,
        minimum=0,
        below=1,
        help="of the averaged weights that are evaluated in place of the last",
    )
    patience: int | None = static(
        None,
        minimum=1,
        help="epochs of the defense without a better validation score before training "
        "stops; None: never",
    )
    log_steps: int = static(
        50, minimum=1, help="steps between two lines of metrics.jsonl"
    )
    checkpoint_steps: int = static(
        0, minimum=0, help="steps between two checkpoints inside an epoch; 0 for none"
    )
    checkpoint_seconds: float = static(
        300.0,
        minimum=0,
        infinite=True,
        unit="seconds",
        help="time between two checkpoints inside an epoch",
    )
    log: Log = schema.group(Log, "who else is told of the run")
    data: Data = schema.group(Data, "where the images come from")
    normalize: Normalize = schema.group(Normalize, "of pixels, inside the network")
    model: Mapping = schema.spec(
        Kind(MODELS, needed=True),
        {"name": "lenet_v2"},
        help="the network; compute_dtype may be bfloat16",
    )
    init_from: str | None = static(
        None,
        help="a run's folder or a weight file whose weights training begins with; the "
        "head is new where the classes are others",
    )
    init_new: tuple[str, ...] | None = static(
        None,
        help="modules of the network that begin new all the same, as the stem of a "
        "network for smaller images",
    )
    defense: Mapping = schema.spec(
        Kind(DEFENSES, needed=True), {"name": "clean"}, help="how to train"
    )
    craft_bn: str = static(
        "average",
        choices=("average", "batch"),
        help="what batch normalization uses while training images are attacked: its "
        "running averages, or the statistics of the images that a device attacks",
    )
    attack: Mapping = schema.spec(
        Kind(ATTACKS, {"keep": "last"}),
        {},
        help="the attack to train with (and to validate with, stronger)",
    )
    attacks: Mapping = schema.spec(
        Kind(ATTACKS, {"keep": "last"}),
        {},
        labeled=True,
        help="the same, several: label -> attack",
    )
    validation: Validation = schema.group(Validation, "selects the best checkpoint")
    optimizer: Mapping = static(
        completion.defaults(optim.Optimizer, {"name": "sgd"}),
        help="the optimizer; its learning_rate is the schedule's maximum",
    )
    schedule: Mapping = static(
        completion.defaults(optim.Schedule, {"name": "constant"}),
        help="how the learning rate moves",
    )


KINDS = schema.kinds(Training)
