"""DeepMind's wide residual networks for CIFAR."""

from jaxadv import specs
from jaxadv.models import layers, wide_resnet


class DmWideResNet(wide_resnet.WideResNet):
    """A wide residual network with SiLU and zeros on the far side at stride 2.

    Gowal, Qin, Uesato, Mann and Kohli, "Uncovering the Limits of Adversarial Training
    against Norm-Bounded Adversarial Examples" (2020), in its public code; most networks
    of the leaderboards since then have this form. Its other attributes are those of
    `WideResNet`.
    """

    activation: str = specs.static("silu", choices=tuple(layers.ACTIVATIONS))
    padding: str = specs.static("far", choices=layers.PADDINGS)


class WRN28x10Dm(DmWideResNet):
    """DeepMind's WRN-28-10: 36,479,194 parameters for 10 classes."""


class WRN34x10Dm(DmWideResNet):
    """DeepMind's WRN-34-10: 46,160,474 parameters for 10 classes."""

    depth: int = specs.static(34, minimum=10)


class WRN34x20Dm(WRN34x10Dm):
    """DeepMind's WRN-34-20: 184,531,674 parameters for 10 classes."""

    widen_factor: int = specs.static(20, minimum=1)


class WRN70x16Dm(DmWideResNet):
    """DeepMind's WRN-70-16: 266,796,506 parameters for 10 classes."""

    depth: int = specs.static(70, minimum=10)
    widen_factor: int = specs.static(16, minimum=1)


class WRN82x8Dm(DmWideResNet):
    """WRN-82-8 of Bartoldson et al. (2024): 79,125,466 parameters for 10 classes.

    "Adversarial Robustness Limits via Scaling-Law and Human-Alignment Studies".
    """

    depth: int = specs.static(82, minimum=10)
    widen_factor: int = specs.static(8, minimum=1)


class WRN94x16Dm(WRN70x16Dm):
    """WRN-94-16 of Bartoldson et al. (2024): 365,915,610 parameters for 10 classes.

    "Adversarial Robustness Limits via Scaling-Law and Human-Alignment Studies".
    """

    depth: int = specs.static(94, minimum=10)


class WRN106x16Dm(WRN70x16Dm):
    """WRN-106-16 of Rebuffi et al. (2021): 415,475,162 parameters for 10 classes.

    "Fixing Data Augmentation to Improve Adversarial Robustness".
    """

    depth: int = specs.static(106, minimum=10)
