"""Writes logits and feature maps of timm's and torchvision's networks.

Needs torch, torchvision and timm. The weights are those of `tests.models.zoo`, the
convolutional stems are written out here. Computed in float64.

    python -m tests.golden.make_imagenet_networks
"""

import json

import numpy as np
import torch
from torch import nn

from tests.golden.vision import torchvision
from tests.models import zoo

import timm  # isort: skip  (it imports torchvision)


class ChannelNorm(nn.LayerNorm):
    """Over the channels of [n, c, h, w]."""

    def forward(self, x):
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class ConvStem(nn.Module):
    """3x3 convolutions (width, stride), and a 1x1 to `last` channels at the end."""

    def __init__(self, plan, last=None):
        super().__init__()
        layers, inputs = [], 3
        for width, stride in plan:
            layers += [nn.Conv2d(inputs, width, 3, stride, 1)]
            layers += [ChannelNorm(width, eps=1e-6), nn.GELU()]
            inputs = width
        if last:
            layers += [nn.Conv2d(inputs, last, 1)]
        self.stem = nn.Sequential(*layers)

    def forward(self, x):
        return self.stem(x)


def resnet(make, block, **fields):
    model = make(block, [1, 1, 1, 1], num_classes=7, **fields)
    model.layer3 = model.layer4 = nn.Identity()
    model.fc = nn.Linear(512, 7)
    return model, [model.layer1, model.layer2]


def convnext(width, plan=None):
    model = timm.models.convnext.ConvNeXt(
        num_classes=7, depths=(1, 1, 2, 1), dims=[width * 2**i for i in range(4)]
    )
    if plan:
        model.stem = ConvStem(plan)
    return model, list(model.stages)


def vit(plan=None, **fields):
    model = timm.models.vision_transformer.VisionTransformer(num_classes=7, **fields)
    if plan:
        model.patch_embed.proj = ConvStem(plan, fields["embed_dim"])
    blocks = len(model.blocks)
    tapped = sorted({quarter * blocks // 4 for quarter in range(1, 5)} - {0})
    return model, [model.blocks[index - 1] for index in tapped]


def swin(**fields):
    make = timm.models.swin_transformer.SwinTransformer
    model = make(num_classes=7, patch_size=4, **fields)
    return model, list(model.layers)


def foreign(name):
    """The network of a case, and the modules whose outputs are its feature maps."""
    tv, resnets = torchvision.models.resnet, timm.models.resnet
    return {
        "resnet50_imagenet": lambda: resnet(resnets.ResNet, resnets.Bottleneck),
        "wide_resnet50_2": lambda: resnet(
            tv.ResNet, tv.Bottleneck, width_per_group=128
        ),
        "convnext_t": lambda: convnext(6),
        "convnext_t_convstem": lambda: convnext(8, [(4, 2), (8, 2)]),
        "convnext_b_convstem": lambda: convnext(8, [(4, 2), (6, 2), (8, 1)]),
        "vit_s16": lambda: vit(
            img_size=32, patch_size=8, embed_dim=12, depth=4, num_heads=6
        ),
        "vit_b16": lambda: vit(img_size=32, embed_dim=24, depth=2, num_heads=12),
        "vit_s16_convstem": lambda: vit(
            [(4 * 2**i, 2) for i in range(4)],
            img_size=48,
            embed_dim=18,
            depth=2,
            num_heads=6,
        ),
        "swin_t": lambda: swin(
            img_size=48, window_size=3, embed_dim=6, depths=(2, 2), num_heads=(3, 6)
        ),
        "swin_b": lambda: swin(
            img_size=32,
            window_size=2,
            embed_dim=4,
            depths=(2, 2, 2),
            num_heads=(2, 4, 8),
        ),
    }[name]()


def as_map(x):
    """[n, h, w, c], also from a class token and h w others, [n, 1 + h w, c]."""
    if x.ndim == 3:
        side = round((x.shape[1] - 1) ** 0.5)
        return x[:, 1:].reshape(len(x), side, side, -1)
    return x


def computed(name):
    """Logits [n, 7] and probes of the feature maps, [n, PROBES] each."""
    case = zoo.CASES[name]
    model, tapped = foreign(name)
    state = {key: torch.from_numpy(value) for key, value in case.state().items()}
    model.load_state_dict(state, strict=True)
    model, maps = model.double().eval(), []
    for module in tapped:
        module.register_forward_hook(lambda _, __, output: maps.append(output))
    images = torch.from_numpy(case.inputs()).permute(0, 3, 1, 2).double()
    with torch.no_grad():
        logits = model(images).numpy()
    if not name.startswith(("vit", "swin")):
        maps = [x.permute(0, 2, 3, 1) for x in maps]
    maps = [as_map(x).numpy() for x in maps]
    probes = [zoo.probed(x, index) for index, x in enumerate(maps)]
    return {"logits": logits, "taps": np.stack(probes)}


def main():
    rows = []
    for name in zoo.CASES:
        found = {k: np.round(v, 9).tolist() for k, v in computed(name).items()}
        rows.append(f'"{name}": {json.dumps(found)}')
    zoo.FILE.write_text("{\n" + ",\n".join(rows) + "\n}\n")


if __name__ == "__main__":
    main()
