"""The foreign layouts of networks, written out here once more."""

import numpy as np


def norm(name, channels):
    kinds = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{k}": (channels,) for k in kinds} | {
        f"{name}.num_batches_tracked": ()
    }


def resnet_shapes(blocks, bottleneck, shortcut, head, stem, width=2):
    shapes = {"conv1.weight": (width, 3, stem, stem), **norm("bn1", width)}
    inputs = width
    for stage, count in enumerate(blocks, start=1):
        inner = width * 2 ** (stage - 1)
        outputs = inner * (4 if bottleneck else 1)
        for block in range(count):
            name = f"layer{stage}.{block}"
            plan = [(inputs, inner, 3), (inner, inner, 3)]
            if bottleneck:
                plan = [(inputs, inner, 1), (inner, inner, 3), (inner, outputs, 1)]
            for i, (before, after, k) in enumerate(plan, start=1):
                shapes[f"{name}.conv{i}.weight"] = (after, before, k, k)
                shapes |= norm(f"{name}.bn{i}", after)
            if block == 0 and (stage > 1 or inputs != outputs):
                shapes[f"{name}.{shortcut}.0.weight"] = (outputs, inputs, 1, 1)
                shapes |= norm(f"{name}.{shortcut}.1", outputs)
            inputs = outputs
    return shapes | {f"{head}.weight": (7, inputs), f"{head}.bias": (7,)}


def wide_shapes(depth):
    shapes, inputs = {"conv1.weight": (16, 3, 3, 3)}, 16
    for stage, outputs in enumerate((32, 64, 128), start=1):
        for block in range((depth - 4) // 6):
            name = f"block{stage}.layer.{block}"
            shapes |= norm(f"{name}.bn1", inputs) | norm(f"{name}.bn2", outputs)
            shapes[f"{name}.conv1.weight"] = (outputs, inputs, 3, 3)
            shapes[f"{name}.conv2.weight"] = (outputs, outputs, 3, 3)
            if block == 0:
                shapes[f"{name}.convShortcut.weight"] = (outputs, inputs, 1, 1)
            inputs = outputs
    unused = {
        f"sub_{name}": shape
        for name, shape in shapes.items()
        if name.startswith("block1.")
    }
    head = {"fc.weight": (7, 128), "fc.bias": (7,)}
    return shapes | unused | norm("bn1", 128) | head


def plain_shapes(net):
    scales = (1, 3, 6, 4, 4)
    places, dense, cells = (0, 3, 6, 8, 10), (1, 4, 6), 36
    if net == "vgg16":
        scales = (1, 1, 2, 2, 4, 4, 4, 8, 8, 8, 8, 8, 8)
        places = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
        dense, cells = (0, 3, 6), 49
    kernels = {"alexnet": (11, 5, 3, 3, 3)}.get(net, (3,) * len(scales))
    shapes, inputs = {}, 3
    for scale, place, k in zip(scales, places, kernels, strict=True):
        shapes[f"features.{place}.weight"] = (2 * scale, inputs, k, k)
        shapes[f"features.{place}.bias"] = (2 * scale,)
        inputs = 2 * scale
    inputs *= 4 if net == "cifar_alexnet" else cells
    for place, outputs in zip(dense, (5, 5, 7), strict=True):
        shapes[f"classifier.{place}.weight"] = (outputs, inputs)
        shapes[f"classifier.{place}.bias"] = (outputs,)
        inputs = outputs
    return shapes


def stlpips_shapes(net):
    """A distance's trunk, blurs and learned weights, and dense layers."""
    if net == "alexnet":
        plan = [
            (1, 0, 2, 11),
            (2, 5, 6, 5),
            (3, 9, 12, 3),
            (4, 11, 8, 3),
            (5, 13, 8, 3),
        ]
        blurs, cells, dense = {"1.1": 2, "2.4": 2, "3.8": 6}, 36, (1, 4, 6)
    else:
        places = ((0, 2), (6, 8), (12, 14, 16), (20, 22, 24), (28, 30, 32))
        stages = zip((1, 2, 3, 4, 5), places, (2, 4, 8, 16, 16), strict=True)
        plan = [(stage, i, width, 3) for stage, some, width in stages for i in some]
        blurs, cells, dense = (
            {"2.5": 2, "3.11": 4, "4.19": 8, "5.27": 16},
            49,
            (0, 3, 6),
        )
    shapes, inputs = {}, 3
    for stage, place, outputs, kernel in plan:
        name = f"net.slice{stage}.{place}"
        shapes[f"{name}.weight"] = (outputs, inputs, kernel, kernel)
        shapes[f"{name}.bias"] = (outputs,)
        shapes[f"lin{stage - 1}.model.1.weight"] = (1, outputs, 1, 1)
        inputs = outputs
    shapes |= {f"net.slice{k}.filt": (c, 1, 3, 3) for k, c in blurs.items()}
    inputs *= cells
    for place, outputs in zip(dense, (5, 5, 7), strict=True):
        shapes[f"classifier.{place}.weight"] = (outputs, inputs)
        shapes[f"classifier.{place}.bias"] = (outputs,)
        inputs = outputs
    return shapes


SHAPES = {
    **{net: plain_shapes(net) for net in ("alexnet", "cifar_alexnet", "vgg16")},
    **{f"stlpips_{net}": stlpips_shapes(net) for net in ("alexnet", "vgg16")},
    "wrn_28_10": wide_shapes(28),
    "wrn_34_10": wide_shapes(34),
}
for _depth, _blocks, _bottleneck in (
    (18, (2, 2, 2, 2), False),
    (34, (3, 4, 6, 3), False),
    (50, (3, 4, 6, 3), True),
):
    SHAPES[f"resnet{_depth}"] = resnet_shapes(
        _blocks, _bottleneck, "shortcut", "linear", 3
    )
    SHAPES[f"resnet{_depth}_imagenet"] = resnet_shapes(
        _blocks, _bottleneck, "downsample", "fc", 7
    )


# What no variable is filled from: counts, copies, constants, weights of a distance.
UNUSED = r"num_batches|^sub_|\.filt$|^lin\d"
BLUR = np.outer((1, 2, 1), (1, 2, 1)).astype(np.float32) / 16


def state_of(arch):
    """Random tensors; every value differs from every other, but for constants."""
    rng = np.random.default_rng(0)
    found = {n: rng.standard_normal(s, np.float32) for n, s in SHAPES[arch].items()}
    blurs = {
        n: np.tile(BLUR, (len(v), 1, 1, 1)) for n, v in found.items() if "filt" in n
    }
    return found | blurs


def same_values(first, second):
    """In whatever order."""
    np.testing.assert_array_equal(np.sort(first, None), np.sort(second, None))
