"""Compares every imported architecture with the network in PyTorch that it is for.

Needs the extra `bench`. Networks with random weights and random batch statistics are
saved by PyTorch in both of its formats, read back by `jaxadv.weights`, and their
logits and taps compared; prints the largest error relative to the largest value.

    python -m tests.golden.check_torch
"""

import tempfile
from pathlib import Path

import jax
import numpy as np
import torch
from torch import nn

from jaxadv import weights
from tests.golden.vision import torchvision
from tests.weights import torch_zoo as zoo


class CifarAlexNet(nn.Module):
    def __init__(self, channels=3, cells=4, num_classes=10):
        super().__init__()
        plan = [(64, 2, 2), (192, 1, 2), (384, 1, 1), (256, 1, 1), (256, 1, 2)]
        rows = []
        for outputs, stride, pool in plan:
            rows += [nn.Conv2d(channels, outputs, 3, stride, 1), nn.ReLU()]
            rows += [nn.MaxPool2d(2)] if pool == 2 else []
            channels = outputs
        self.features = nn.Sequential(*rows)
        self.classifier = nn.Sequential(
            nn.Dropout(), nn.Linear(256 * cells, 4096), nn.ReLU(),
            nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(),
            nn.Linear(4096, num_classes),
        )  # fmt: skip

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


STAGES = ("layer1", "layer2", "layer3", "layer4")
ALEX_TAPS = tuple(f"features.{i}" for i in (1, 4, 7, 9, 11))
VGG_TAPS = tuple(f"features.{i}" for i in (3, 8, 15, 22, 29))
WIDE_TAPS = ("block1", "block2", "block3")
DM_TAPS = ("layer.0", "layer.1", "layer.2")
DM_STAGES = tuple(f"layer_{i}" for i in range(4))
tv = torchvision.models
CASES = [
    # architecture, network, taps, shapes of the images
    ("alexnet", lambda: tv.alexnet(), ALEX_TAPS, [(224, 3), (96, 3), (63, 3)]),
    ("vgg16", lambda: tv.vgg16(), VGG_TAPS, [(64, 3), (250, 3)]),
    ("cifar_alexnet", lambda: CifarAlexNet(), ALEX_TAPS, [(32, 3)]),
    ("cifar_alexnet", lambda: CifarAlexNet(1, 1), ALEX_TAPS, [(28, 1)]),
    ("resnet18_imagenet", lambda: tv.resnet18(), STAGES, [(64, 3)]),
    ("resnet34_imagenet", lambda: tv.resnet34(num_classes=7), STAGES, [(64, 3)]),
    ("resnet50_imagenet", lambda: tv.resnet50(), STAGES, [(96, 3)]),
    ("resnet18", lambda: zoo.ResNet((2, 2, 2, 2)), STAGES, [(32, 3)]),
    ("resnet50", lambda: zoo.ResNet((3, 4, 6, 3), True), STAGES, [(32, 3)]),
    ("wrn_28_10", lambda: zoo.WideResNet(28, 10, sub_block=True), WIDE_TAPS, [(32, 3)]),
    ("wrn_34_10", lambda: zoo.WideResNet(34, 2), WIDE_TAPS, [(32, 3)]),
    ("wrn_70_16", lambda: zoo.WideResNet(70, 2), WIDE_TAPS, [(32, 3)]),
    ("wrn_28_10_dm", lambda: zoo.DmWideResNet(28, 10), DM_TAPS, [(32, 3)]),
    ("wrn_70_16_dm", lambda: zoo.DmWideResNet(70, 2), DM_TAPS, [(32, 3)]),
    ("preact_resnet18", lambda: zoo.PreActResNet(), STAGES, [(32, 3)]),
    ("preact_resnet18", lambda: zoo.PreActResNet(norm=False), STAGES, [(32, 3)]),
    ("preact_resnet18_fast", lambda: zoo.PreActResNet(True), STAGES, [(32, 3)]),
    ("preact_resnet18_dm", lambda: zoo.DmPreActResNet(), DM_STAGES, [(32, 3)]),
    (
        "resnet110",
        lambda: zoo.ResNet((18, 18, 18), width=16, shortcut="downsample", head="fc"),
        STAGES[:3],
        [(32, 3)],
    ),
]


def randomize(network):
    """Batch statistics and scales that hide no mistake."""
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias, std=0.2)
            part.running_mean.normal_(std=0.2)
            part.running_var.uniform_(0.5, 1.5)
    return network.eval()


def in_torch(network, names, images):
    taps = []
    parts = dict(network.named_modules())

    def keep(_module, _inputs, output):
        taps.append(output.clone().permute(0, 2, 3, 1).numpy())

    hooks = [parts[name].register_forward_hook(keep) for name in names]
    with torch.no_grad():
        logits = network(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()
    for hook in hooks:
        hook.remove()
    return [logits, *taps]


def in_jax(path, arch, images):
    module, variables, _, _ = weights.load(path, arch, assumed=True)
    logits, state = jax.jit(lambda v, x: module.apply(v, x, mutable=["features"]))(
        variables, images
    )
    return [logits, *state["features"]["taps"]]


def error(found, expected):
    assert found.shape == expected.shape
    return np.abs(np.asarray(found) - expected).max() / np.abs(expected).max()


def main():
    jax.config.update("jax_default_matmul_precision", "highest")
    for seed, (arch, make, names, shapes) in enumerate(CASES):
        torch.manual_seed(seed)
        network = randomize(make())
        state = network.state_dict()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "zip.pth")
            torch.save(state, path)
            old = Path(folder, "legacy.pth")
            torch.save(state, old, _use_new_zipfile_serialization=False)
            new, legacy = weights.read(path), weights.read(old)
            assert list(new) == list(legacy) == list(state)
            for name, value in state.items():
                np.testing.assert_array_equal(new[name], value.numpy())
                np.testing.assert_array_equal(legacy[name], value.numpy())
            for side, channels in shapes:
                images = np.random.default_rng(seed).standard_normal(
                    (2, side, side, channels), np.float32
                )
                pairs = zip(
                    in_jax(path, arch, images),
                    in_torch(network, names, images),
                    strict=True,
                )
                errors = [error(*pair) for pair in pairs]
                print(
                    f"{arch} {side}x{side}x{channels}: logits {errors[0]:.1e}, "
                    f"taps {max(errors[1:]):.1e}",
                    flush=True,
                )
                assert max(errors) <= 1e-5


if __name__ == "__main__":
    main()
