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
from torch.nn import functional

from jaxadv import weights
from tests.golden.vision import torchvision


class Shortcut(nn.Sequential):
    def __init__(self, inputs, outputs, stride):
        super().__init__(
            nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
        )


class CifarBlock(nn.Module):
    """Both forms of the CIFAR ResNets' block, named as in the robustness package."""

    def __init__(self, inputs, width, stride, bottleneck):
        super().__init__()
        outputs = width * (4 if bottleneck else 1)
        plan = [(inputs, width, 3, stride), (width, width, 3, 1)]
        if bottleneck:
            plan = [(inputs, width, 1, 1), (width, width, 3, stride),
                    (width, outputs, 1, 1)]  # fmt: skip
        self.depth = len(plan)
        for i, (before, after, kernel, step) in enumerate(plan, start=1):
            conv = nn.Conv2d(before, after, kernel, step, kernel // 2, bias=False)
            setattr(self, f"conv{i}", conv)
            setattr(self, f"bn{i}", nn.BatchNorm2d(after))
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Sequential() if same else Shortcut(inputs, outputs, stride)

    def forward(self, x):
        y = x
        for i in range(1, self.depth + 1):
            y = y if i == 1 else functional.relu(y)
            y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
        return functional.relu(y + self.shortcut(x))


class CifarResNet(nn.Module):
    def __init__(self, blocks, bottleneck, num_classes=10):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        channels = 64
        for stage, count in enumerate(blocks):
            rows = []
            for i in range(count):
                stride = 2 if stage and not i else 1
                rows.append(CifarBlock(channels, 64 * 2**stage, stride, bottleneck))
                channels = 64 * 2**stage * (4 if bottleneck else 1)
            setattr(self, f"layer{stage + 1}", nn.Sequential(*rows))
        self.linear = nn.Linear(channels, num_classes)

    def forward(self, x):
        x = functional.relu(self.bn1(self.conv1(x)))
        for stage in range(1, 5):
            x = getattr(self, f"layer{stage}")(x)
        return self.linear(x.mean((2, 3)))


class WideBlock(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.convShortcut = None
        if inputs != outputs:
            self.convShortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x):
        active = functional.relu(self.bn1(x))
        y = self.conv2(functional.relu(self.bn2(self.conv1(active))))
        return y + (x if self.convShortcut is None else self.convShortcut(active))


class WideStage(nn.Module):
    def __init__(self, count, inputs, outputs, stride):
        super().__init__()
        self.layer = nn.Sequential(
            WideBlock(inputs, outputs, stride),
            *(WideBlock(outputs, outputs, 1) for _ in range(count - 1)),
        )

    def forward(self, x):
        return self.layer(x)


class WideResNet(nn.Module):
    """As in TRADES, with the stage `sub_block1` that it has and never uses."""

    def __init__(self, depth, widen, num_classes=10):
        super().__init__()
        count = (depth - 4) // 6
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.block1 = WideStage(count, 16, 16 * widen, 1)
        self.sub_block1 = WideStage(count, 16, 16 * widen, 1)
        self.block2 = WideStage(count, 16 * widen, 32 * widen, 2)
        self.block3 = WideStage(count, 32 * widen, 64 * widen, 2)
        self.bn1 = nn.BatchNorm2d(64 * widen)
        self.fc = nn.Linear(64 * widen, num_classes)

    def forward(self, x):
        x = self.block3(self.block2(self.block1(self.conv1(x))))
        return self.fc(functional.relu(self.bn1(x)).mean((2, 3)))


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
    ("resnet18", lambda: CifarResNet((2, 2, 2, 2), False), STAGES, [(32, 3)]),
    ("resnet50", lambda: CifarResNet((3, 4, 6, 3), True), STAGES, [(32, 3)]),
    ("wrn_28_10", lambda: WideResNet(28, 10), WIDE_TAPS, [(32, 3)]),
    ("wrn_34_10", lambda: WideResNet(34, 2), WIDE_TAPS, [(32, 3)]),
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
    module, variables, _, _ = weights.load(path, arch)
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
