"""Public networks in PyTorch, written from what is known of them, in any width.

Only tests that have PyTorch import this file. Names of modules are those of the public
codes, so that their state dictionaries are too.
"""

from torch import nn
from torch.nn import functional


def conv(inputs, outputs, kernel, stride=1, padding=None):
    padding = kernel // 2 if padding is None else padding
    return nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)


class Block(nn.Module):
    """Both forms of a ResNet's block; `shortcut` is what its projection is called."""

    def __init__(self, inputs, width, stride, bottleneck, shortcut):
        super().__init__()
        outputs = width * (4 if bottleneck else 1)
        plan = [(inputs, width, 3, stride), (width, width, 3, 1)]
        if bottleneck:
            plan = [(inputs, width, 1, 1), (width, width, 3, stride),
                    (width, outputs, 1, 1)]  # fmt: skip
        self.depth, self.projection = len(plan), nn.Sequential()
        for i, (before, after, kernel, step) in enumerate(plan, start=1):
            setattr(self, f"conv{i}", conv(before, after, kernel, step))
            setattr(self, f"bn{i}", nn.BatchNorm2d(after))
        if stride != 1 or inputs != outputs:
            self.projection = None
            parts = conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs)
            setattr(self, shortcut, nn.Sequential(*parts))
        self.called = shortcut

    def forward(self, x):
        y = x
        for i in range(1, self.depth + 1):
            y = y if i == 1 else functional.relu(y)
            y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
        if self.projection is None:
            x = getattr(self, self.called)(x)
        return functional.relu(y + x)


class ResNet(nn.Module):
    """kuangliu's, or torchvision's and Cohen's with other names."""

    def __init__(self, blocks, bottleneck=False, width=64, num_classes=10,
                 shortcut="shortcut", head="linear", imagenet=False):  # fmt: skip
        super().__init__()
        self.conv1 = conv(3, width, 7, 2) if imagenet else conv(3, width, 3)
        self.bn1 = nn.BatchNorm2d(width)
        self.pool = nn.MaxPool2d(3, 2, 1) if imagenet else nn.Identity()
        self.stages, channels = len(blocks), width
        for stage, count in enumerate(blocks):
            rows, features = [], width * 2**stage
            for i in range(count):
                stride = 2 if stage and not i else 1
                rows.append(Block(channels, features, stride, bottleneck, shortcut))
                channels = features * (4 if bottleneck else 1)
            setattr(self, f"layer{stage + 1}", nn.Sequential(*rows))
        setattr(self, head, nn.Linear(channels, num_classes))
        self.head = head

    def forward(self, x):
        x = self.pool(functional.relu(self.bn1(self.conv1(x))))
        for stage in range(1, self.stages + 1):
            x = getattr(self, f"layer{stage}")(x)
        return getattr(self, self.head)(x.mean((2, 3)))


class WideBlock(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = conv(inputs, outputs, 3, stride)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = conv(outputs, outputs, 3)
        self.convShortcut = None
        if inputs != outputs:
            self.convShortcut = conv(inputs, outputs, 1, stride)

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
    """As in TRADES; `sub_block` is the stage that many have and none uses."""

    def __init__(self, depth, widen, num_classes=10, sub_block=False):
        super().__init__()
        count = (depth - 4) // 6
        self.conv1 = conv(3, 16, 3)
        self.block1 = WideStage(count, 16, 16 * widen, 1)
        if sub_block:
            self.sub_block1 = WideStage(count, 16, 16 * widen, 1)
        self.block2 = WideStage(count, 16 * widen, 32 * widen, 2)
        self.block3 = WideStage(count, 32 * widen, 64 * widen, 2)
        self.bn1 = nn.BatchNorm2d(64 * widen)
        self.fc = nn.Linear(64 * widen, num_classes)

    def forward(self, x):
        x = self.block3(self.block2(self.block1(self.conv1(x))))
        return self.fc(functional.relu(self.bn1(x)).mean((2, 3)))


def far(x, stride):
    """The zeros of DeepMind's networks before a 3x3 convolution without any."""
    return functional.pad(x, (0, 1, 0, 1) if stride == 2 else (1, 1, 1, 1))


class DmBlock(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.stride = stride
        self.batchnorm_0 = nn.BatchNorm2d(inputs)
        self.conv_0 = conv(inputs, outputs, 3, stride, padding=0)
        self.batchnorm_1 = nn.BatchNorm2d(outputs)
        self.conv_1 = conv(outputs, outputs, 3)
        self.shortcut = None
        if inputs != outputs:
            self.shortcut = conv(inputs, outputs, 1, stride)

    def forward(self, x):
        active = functional.silu(self.batchnorm_0(x))
        y = self.conv_0(far(active, self.stride))
        y = self.conv_1(functional.silu(self.batchnorm_1(y)))
        return y + (x if self.shortcut is None else self.shortcut(active))


class DmStage(nn.Module):
    def __init__(self, count, inputs, outputs, stride):
        super().__init__()
        self.block = nn.Sequential(
            DmBlock(inputs, outputs, stride),
            *(DmBlock(outputs, outputs, 1) for _ in range(count - 1)),
        )

    def forward(self, x):
        return self.block(x)


class DmWideResNet(nn.Module):
    def __init__(self, depth, widen, num_classes=10):
        super().__init__()
        count, sizes = (depth - 4) // 6, [16, *(16 * widen * n for n in (1, 2, 4))]
        self.init_conv = conv(3, 16, 3)
        self.layer = nn.Sequential(
            *(DmStage(count, *sizes[i : i + 2], 2 if i else 1) for i in range(3))
        )
        self.batchnorm = nn.BatchNorm2d(sizes[-1])
        self.logits = nn.Linear(sizes[-1], num_classes)

    def forward(self, x):
        x = functional.silu(self.batchnorm(self.layer(self.init_conv(x))))
        return self.logits(x.mean((2, 3)))


class PreActBlock(nn.Module):
    """`of_input`: the shortcut convolves the input as it is."""

    def __init__(self, inputs, outputs, stride, of_input):
        super().__init__()
        self.of_input = of_input
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = conv(inputs, outputs, 3, stride)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = conv(outputs, outputs, 3)
        self.shortcut = nn.Identity()
        self.same = inputs == outputs
        if not self.same:
            self.shortcut = nn.Sequential(conv(inputs, outputs, 1, stride))

    def forward(self, x):
        active = functional.relu(self.bn1(x))
        beside = self.shortcut(x if self.of_input or self.same else active)
        return self.conv2(functional.relu(self.bn2(self.conv1(active)))) + beside


class PreActResNet(nn.Module):
    def __init__(self, of_input=False, norm=True, width=64, num_classes=10):
        super().__init__()
        self.conv1, inputs = conv(3, width, 3), width
        for stage in range(4):
            outputs = width * 2**stage
            first = PreActBlock(inputs, outputs, 2 if stage else 1, of_input)
            rows = first, PreActBlock(outputs, outputs, 1, of_input)
            setattr(self, f"layer{stage + 1}", nn.Sequential(*rows))
            inputs = outputs
        if norm:
            self.bn = nn.BatchNorm2d(inputs)
        self.linear = nn.Linear(inputs, num_classes)
        self.norm = norm

    def forward(self, x):
        x = self.layer4(self.layer3(self.layer2(self.layer1(self.conv1(x)))))
        x = functional.relu(self.bn(x)) if self.norm else x
        return self.linear(x.mean((2, 3)))


class DmPreActBlock(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.stride = stride
        self.batchnorm_0 = nn.BatchNorm2d(inputs)
        self.conv_2d_1 = conv(inputs, outputs, 3, stride, padding=0)
        self.batchnorm_1 = nn.BatchNorm2d(outputs)
        self.conv_2d_2 = conv(outputs, outputs, 3)
        self.shortcut = None
        if inputs != outputs:
            self.shortcut = conv(inputs, outputs, 3, stride, padding=0)

    def forward(self, x):
        y = self.conv_2d_1(far(functional.silu(self.batchnorm_0(x)), self.stride))
        y = self.conv_2d_2(functional.silu(self.batchnorm_1(y)))
        return y + (x if self.shortcut is None else self.shortcut(far(x, self.stride)))


class DmPreActResNet(nn.Module):
    def __init__(self, width=64, num_classes=10):
        super().__init__()
        self.conv_2d, inputs = conv(3, width, 3), width
        for stage in range(4):
            outputs = width * 2**stage
            first = DmPreActBlock(inputs, outputs, 2 if stage else 1)
            rows = first, DmPreActBlock(outputs, outputs, 1)
            setattr(self, f"layer_{stage}", nn.Sequential(*rows))
            inputs = outputs
        self.batchnorm = nn.BatchNorm2d(inputs)
        self.logits = nn.Linear(inputs, num_classes)

    def forward(self, x):
        x = self.layer_3(self.layer_2(self.layer_1(self.layer_0(self.conv_2d(x)))))
        return self.logits(functional.silu(self.batchnorm(x)).mean((2, 3)))
