"""Image classifiers in Flax linen, and the registry of their names.

All take normalized images [n, h, w, c] and return float32 logits; see
`layers.ImageClassifier` for the feature maps they offer.
"""

from typing import Any

from jaxadv import protocols
from jaxadv.models import (
    alexnet,
    cifar_resnet,
    convnext,
    dm_resnet,
    googlenet,
    preact_resnet,
    resnet,
    shift_tolerant,
    small,
    swin,
    vgg,
    vit,
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
        "resnet110": cifar_resnet.ResNet110,
        "resnet18": resnet.ResNet18,
        "resnet34": resnet.ResNet34,
        "resnet50": resnet.ResNet50,
        "resnet18_imagenet": resnet.ResNet18ImageNet,
        "resnet34_imagenet": resnet.ResNet34ImageNet,
        "resnet50_imagenet": resnet.ResNet50ImageNet,
        "wide_resnet50_2": resnet.WideResNet50x2,
        "preact_resnet18": preact_resnet.PreActResNet18,
        "preact_resnet18_fast": preact_resnet.PreActResNet18Fast,
        "preact_resnet18_dm": preact_resnet.PreActResNet18Dm,
        "wrn_28_10": wide_resnet.WRN28x10,
        "wrn_34_10": wide_resnet.WRN34x10,
        "wrn_34_15": wide_resnet.WRN34x15,
        "wrn_34_20": wide_resnet.WRN34x20,
        "wrn_40_2": wide_resnet.WRN40x2,
        "wrn_70_16": wide_resnet.WRN70x16,
        "wrn_28_10_dm": dm_resnet.WRN28x10Dm,
        "wrn_34_10_dm": dm_resnet.WRN34x10Dm,
        "wrn_34_20_dm": dm_resnet.WRN34x20Dm,
        "wrn_70_16_dm": dm_resnet.WRN70x16Dm,
        "wrn_82_8_dm": dm_resnet.WRN82x8Dm,
        "wrn_94_16_dm": dm_resnet.WRN94x16Dm,
        "wrn_106_16_dm": dm_resnet.WRN106x16Dm,
        "madry_wrn": wide_resnet.MadryWRN,
        "googlenet": googlenet.GoogLeNet,
        "alexnet": alexnet.AlexNet,
        "cifar_alexnet": alexnet.CifarAlexNet,
        "vgg16": vgg.VGG16,
        "cifar_vgg16": vgg.CifarVGG16,
        "stlpips_alexnet": shift_tolerant.ShiftTolerantAlexNet,
        "stlpips_vgg16": shift_tolerant.ShiftTolerantVGG16,
        "convnext_t": convnext.ConvNeXtT,
        "convnext_s": convnext.ConvNeXtS,
        "convnext_b": convnext.ConvNeXtB,
        "convnext_l": convnext.ConvNeXtL,
        "convnext_t_convstem": convnext.ConvNeXtTConvStem,
        "convnext_s_convstem": convnext.ConvNeXtSConvStem,
        "convnext_b_convstem": convnext.ConvNeXtBConvStem,
        "convnext_l_convstem": convnext.ConvNeXtLConvStem,
        "vit_s16": vit.ViTS16,
        "vit_b16": vit.ViTB16,
        "vit_s16_convstem": vit.ViTS16ConvStem,
        "vit_b16_convstem": vit.ViTB16ConvStem,
        "swin_t": swin.SwinT,
        "swin_b": swin.SwinB,
        "swin_l": swin.SwinL,
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
