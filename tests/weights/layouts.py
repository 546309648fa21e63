"""The foreign layouts of networks, written out here once more."""

import zlib

import numpy as np

from tests.weights import patch_layouts


def norm(name, channels):
    kinds = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{k}": (channels,) for k in kinds} | {
        f"{name}.num_batches_tracked": ()
    }


def resnet_shapes(blocks, bottleneck, shortcut, head, stem, width=2, widen=1):
    shapes = {"conv1.weight": (width, 3, stem, stem), **norm("bn1", width)}
    inputs = width
    for stage, count in enumerate(blocks, start=1):
        inner = width * 2 ** (stage - 1)
        outputs = inner * (4 if bottleneck else 1)
        for block in range(count):
            name = f"layer{stage}.{block}"
            plan = [(inputs, inner, 3), (inner, inner, 3)]
            if bottleneck:
                wide = widen * inner
                plan = [(inputs, wide, 1), (wide, wide, 3), (wide, outputs, 1)]
            for i, (before, after, k) in enumerate(plan, start=1):
                shapes[f"{name}.conv{i}.weight"] = (after, before, k, k)
                shapes |= norm(f"{name}.bn{i}", after)
            if block == 0 and (stage > 1 or inputs != outputs):
                shapes[f"{name}.{shortcut}.0.weight"] = (outputs, inputs, 1, 1)
                shapes |= norm(f"{name}.{shortcut}.1", outputs)
            inputs = outputs
    return shapes | {f"{head}.weight": (7, inputs), f"{head}.bias": (7,)}


TRADES = {
    "stem": "conv1",
    "block": "block{stage}.layer.{block}",
    "inside": ("bn1", "conv1", "bn2", "conv2", "convShortcut"),
    "norm": "bn1",
    "head": "fc",
}
DM_WIDE = {
    "stem": "init_conv",
    "block": "layer.{index}.block.{block}",
    "inside": ("batchnorm_0", "conv_0", "batchnorm_1", "conv_1", "shortcut"),
    "norm": "batchnorm",
    "head": "logits",
}
KUANGLIU = {
    "stem": "conv1",
    "block": "layer{stage}.{block}",
    "inside": ("bn1", "conv1", "bn2", "conv2", "shortcut.0"),
    "norm": "bn",
    "head": "linear",
}
DM_PREACT = {
    "stem": "conv_2d",
    "block": "layer_{index}.{block}",
    "inside": ("batchnorm_0", "conv_2d_1", "batchnorm_1", "conv_2d_2", "shortcut"),
    "norm": "batchnorm",
    "head": "logits",
}


def preact_shapes(names, first, widths, blocks, shortcut=1):
    """Pre-activation networks; `shortcut` is the side of its kernel."""
    shapes, inputs = {f"{names['stem']}.weight": (first, 3, 3, 3)}, first
    norm1, conv1, norm2, conv2, projection = names["inside"]
    for index, outputs in enumerate(widths):
        for block in range(blocks):
            name = names["block"].format(stage=index + 1, index=index, block=block)
            shapes |= norm(f"{name}.{norm1}", inputs)
            shapes |= norm(f"{name}.{norm2}", outputs)
            shapes[f"{name}.{conv1}.weight"] = (outputs, inputs, 3, 3)
            shapes[f"{name}.{conv2}.weight"] = (outputs, outputs, 3, 3)
            if inputs != outputs:
                side = (shortcut, shortcut)
                shapes[f"{name}.{projection}.weight"] = (outputs, inputs, *side)
            inputs = outputs
    head = {f"{names['head']}.weight": (7, inputs), f"{names['head']}.bias": (7,)}
    return shapes | norm(names["norm"], inputs) | head


def wide_shapes(names, depth):
    return preact_shapes(names, 16, (32, 64, 128), (depth - 4) // 6)


def with_sub_block(shapes):
    """The stage that TRADES' networks have twice and use once."""
    twice = {n: shape for n, shape in shapes.items() if n.startswith("block1.")}
    return shapes | {f"sub_{name}": shape for name, shape in twice.items()}


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
    "resnet110": resnet_shapes((18, 18, 18), False, "downsample", "fc", 3),
    "preact_resnet18": preact_shapes(KUANGLIU, 2, (2, 4, 8, 16), 2),
    "preact_resnet18_fast": preact_shapes(KUANGLIU, 2, (2, 4, 8, 16), 2),
    "preact_resnet18_dm": preact_shapes(DM_PREACT, 2, (2, 4, 8, 16), 2, shortcut=3),
    "wrn_28_10": with_sub_block(wide_shapes(TRADES, 28)),
    "wrn_34_10": with_sub_block(wide_shapes(TRADES, 34)),
    "wrn_34_15": with_sub_block(wide_shapes(TRADES, 34)),
    **{
        f"wrn_{depth}_{widen}": wide_shapes(TRADES, depth)
        for depth, widen in ((34, 20), (40, 2), (70, 16))
    },
    **{
        f"wrn_{depth}_{widen}_dm": wide_shapes(DM_WIDE, depth)
        for depth, widen in (
            (28, 10),
            (34, 10),
            (34, 20),
            (70, 16),
            (82, 8),
            (94, 16),
            (106, 16),
        )
    },
    "wide_resnet50_2": resnet_shapes(
        (3, 4, 6, 3), True, "downsample", "fc", 7, widen=2
    ),
    **patch_layouts.SHAPES,
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


def without_norm(shapes, name="bn"):
    """The last normalization of a pre-activation network left out."""
    return {n: shape for n, shape in shapes.items() if not n.startswith(f"{name}.")}


def plausible(shapes):
    """Tensors of a network whose activations neither vanish nor explode.

    They are the same everywhere; scales, offsets and statistics are nowhere 0 or 1.
    """
    kernels = sum(len(shape) == 4 for shape in shapes.values())
    gain = (24 / kernels) ** 0.25  # so that what all blocks add is of the order of 1
    return {name: _drawn(name, shape, gain) for name, shape in shapes.items()}


def _drawn(name, shape, gain):
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    kind = name.rpartition(".")[2]
    if kind == "num_batches_tracked":
        return np.int64(rng.integers(1, 100))
    if len(shape) > 1:
        std = gain / np.sqrt(np.prod(shape[1:]))
        return (std * rng.standard_normal(shape)).astype(np.float32)
    low, high = (0.5, 1.5) if kind in ("weight", "running_var") else (-0.3, 0.3)
    return rng.uniform(low, high, shape).astype(np.float32)


def same_values(first, second):
    """In whatever order."""
    np.testing.assert_array_equal(np.sort(first, None), np.sort(second, None))
