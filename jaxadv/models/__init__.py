"""Image classifiers in Flax linen, and the registry of their names.

All take normalized images [n, h, w, c] and return float32 logits; see
`layers.ImageClassifier` for the feature maps they offer.
"""

from typing import Any

from jaxadv import protocols
from jaxadv.models import (
    alexnet,
    cifar_resnet,
    googlenet,
    resnet,
    shift_tolerant,
    small,
    vgg,
    wide_resnet,
)
from jaxadv.models.noisy import adv_bnn, learn2perturb, pni
from jaxadv.plugins import Registry

MODELS = Registry(
    "models",
    {
        "mlp": small.MLP,
        "all_cnn": small.AllCNN,
        "lenet": small.LeNet,
        "lenet_v2": small.LeNetV2,
        "resnet20": cifar_resnet.ResNet20,
        "resnet32": cifar_resnet.ResNet32,
        "resnet44": cifar_resnet.ResNet44,
        "resnet56": cifar_resnet.ResNet56,
        "resnet18": resnet.ResNet18,
        "resnet34": resnet.ResNet34,
        "resnet50": resnet.ResNet50,
        "resnet18_imagenet": resnet.ResNet18ImageNet,
        "resnet34_imagenet": resnet.ResNet34ImageNet,
        "resnet50_imagenet": resnet.ResNet50ImageNet,
        "preact_resnet18": resnet.PreActResNet18,
        "wrn_28_10": wide_resnet.WRN28x10,
        "wrn_34_10": wide_resnet.WRN34x10,
        "madry_wrn": wide_resnet.MadryWRN,
        "googlenet": googlenet.GoogLeNet,
        "alexnet": alexnet.AlexNet,
        "cifar_alexnet": alexnet.CifarAlexNet,
        "vgg16": vgg.VGG16,
        "cifar_vgg16": vgg.CifarVGG16,
        "stlpips_alexnet": shift_tolerant.ShiftTolerantAlexNet,
        "stlpips_vgg16": shift_tolerant.ShiftTolerantVGG16,
        "learn2perturb": learn2perturb.Learn2Perturb,
        "pni": pni.Pni,
        "adv_bnn": adv_bnn.AdvBnn,
    },
    protocols.Network,
)


def shipped(module: Any) -> bool:
    """Whether a module, and one that it stands around, are of this package."""
    inside = protocols.inside(module)
    known = MODELS.data.values()
    return type(module) in known and (inside is None or type(inside) in known)
