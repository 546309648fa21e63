"""Tiny networks with random variables, and a NumPy reference of every layer."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np

from jaxadv import specs
from jaxadv.models import MODELS

TINY = {
    "mlp": {},
    "all_cnn": {},
    "lenet": {},
    "lenet_v2": {},
    "resnet20": {"width": 2, "depth": 8},
    "resnet32": {"width": 3, "depth": 14},
    "resnet110": {"width": 2, "depth": 14},
    "resnet18": {"width": 2, "stage_sizes": (1, 1)},
    "resnet34": {"width": 2, "stage_sizes": (2, 1)},
    "resnet50": {"width": 2, "stage_sizes": (1, 1)},
    "resnet18_imagenet": {"width": 2, "stage_sizes": (1, 1)},
    "resnet34_imagenet": {"width": 2, "stage_sizes": (2, 1)},
    "resnet50_imagenet": {"width": 2, "stage_sizes": (1, 1)},
    "preact_resnet18": {"width": 2, "stage_sizes": (1, 2)},
    "preact_resnet18_fast": {"width": 2, "stage_sizes": (1, 2), "final_norm": False},
    "preact_resnet18_dm": {"width": 2, "stage_sizes": (1, 2, 1)},
    "wrn_28_10": {"depth": 10, "widen_factor": 1},
    "wrn_34_10": {"depth": 16, "widen_factor": 1},
    "wrn_28_10_dm": {"depth": 10, "widen_factor": 2},
    "madry_wrn": {"blocks": 2, "widen_factor": 2},
    "cifar_vgg16": {"width": 2},
    "googlenet": {"divisor": 16},
}


def build(name, **fields):
    return specs.build({"name": name, **fields}, MODELS, "model")


def abstract(module, shape, **kwargs):
    """Shapes of the variables, of the logits and of the taps."""
    images = jax.ShapeDtypeStruct(shape, jnp.float32)
    variables = jax.eval_shape(module.init, jax.random.key(0), images)
    logits, state = jax.eval_shape(
        lambda v, x: module.apply(v, x, mutable=["features"], **kwargs),
        variables,
        images,
    )
    return variables, logits, state["features"]["taps"]


def count(variables):
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))


def random_variables(module, shape, seed=0):
    """Variables with nothing left at a value that would hide a mistake."""
    rng = np.random.default_rng(seed)
    variables, _, _ = abstract(module, shape)

    def draw(path, leaf):
        kind = path[-1].key
        if kind == "kernel":
            scale = np.sqrt(2 / np.prod(leaf.shape[:-1]))
            return (scale * rng.standard_normal(leaf.shape)).astype(np.float32)
        low, high = (0.5, 1.5) if kind in ("scale", "var") else (-0.3, 0.3)
        return rng.uniform(low, high, leaf.shape).astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, variables)


def random_images(shape, seed=1):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def apply_with_taps(module, variables, images):
    @jax.jit
    def run(variables, images):
        return module.apply(variables, images, mutable=["features"])

    logits, state = run(variables, images)
    return logits, state["features"]["taps"]


# A NumPy reference of every layer, on one image [h, w, c] in float64.


def conv_reference(x, params, strides=1, before=None, after=None):
    """Correlation with zero padding `before` and `after` on both axes."""
    kernel = np.asarray(params["kernel"], np.float64)
    size = kernel.shape[0]
    before = size // 2 if before is None else before
    after = before if after is None else after
    x = np.pad(x, ((before, after), (before, after), (0, 0)))
    h, w = ((n - size) // strides + 1 for n in x.shape[:2])
    out = np.zeros((h, w, kernel.shape[-1]))
    for i, j in itertools.product(range(h), range(w)):
        patch = x[i * strides : i * strides + size, j * strides : j * strides + size]
        out[i, j] = np.einsum("abc,abcd->d", patch, kernel)
    return out + params.get("bias", 0.0)


def norm_reference(x, variables, path):
    params, stats = variables["params"], variables["batch_stats"]
    for key in path:
        params, stats = params[key], stats[key]
    scaled = (x - stats["mean"]) / np.sqrt(stats["var"] + 1e-5)
    return scaled * params["scale"] + params["bias"]


def pool_reference(x, window, strides, padding):
    x = np.pad(
        x, ((padding, padding), (padding, padding), (0, 0)), constant_values=-np.inf
    )
    h, w = ((n - window) // strides + 1 for n in x.shape[:2])
    out = np.zeros((h, w, x.shape[-1]))
    for i, j in itertools.product(range(h), range(w)):
        rows = slice(i * strides, i * strides + window)
        out[i, j] = x[rows, j * strides : j * strides + window].max((0, 1))
    return out


def relu(x):
    return np.maximum(x, 0)


def dense_reference(x, params):
    return x @ np.asarray(params["kernel"], np.float64) + params["bias"]


def residual_reference(variables, image, stage_sizes, stem, bottleneck):
    params = variables["params"]
    x = conv_reference(image, params["stem"], strides=2 if stem == "imagenet" else 1)
    x = relu(norm_reference(x, variables, ["stem_norm"]))
    x = pool_reference(x, 3, 2, 1) if stem == "imagenet" else x
    taps = []
    for stage, blocks in enumerate(stage_sizes, start=1):
        for block in range(1, blocks + 1):
            name = f"stage{stage}_block{block}"
            stride = 2 if stage > 1 and block == 1 else 1
            strides = (1, stride, 1) if bottleneck else (stride, 1)
            y = x
            for i, step in enumerate(strides, start=1):
                y = conv_reference(y, params[name][f"conv{i}"], step)
                y = norm_reference(y, variables, [name, f"norm{i}"])
                y = relu(y) if i < len(strides) else y
            if "shortcut" in params[name]:
                x = conv_reference(x, params[name]["shortcut"], stride)
                x = norm_reference(x, variables, [name, "shortcut_norm"])
            if x.shape != y.shape:  # without parameters
                x = x[::stride, ::stride]
                x = np.pad(x, ((0, 0), (0, 0), (0, y.shape[-1] - x.shape[-1])))
            x = relu(x + y)
        taps.append(x)
    return dense_reference(x.mean((0, 1)), params["head"]), taps


def silu(x):
    return x / (1 + np.exp(-x))


def preact_reference(variables, image, stage_sizes, dm=False, of_input=False):
    """`dm`: SiLU and zeros on the far side; `of_input`: shortcuts of the raw input."""
    params, activate = variables["params"], silu if dm else relu
    x = conv_reference(image, params["stem"])
    taps = []

    def conv(x, params, stride):
        near = 0 if dm and stride == 2 else None
        far = 1 if dm and stride == 2 and params["kernel"].shape[0] == 3 else near
        return conv_reference(x, params, stride, near, far)

    for stage, blocks in enumerate(stage_sizes, start=1):
        for block in range(1, blocks + 1):
            name = f"stage{stage}_block{block}"
            stride = 2 if stage > 1 and block == 1 else 1
            active = activate(norm_reference(x, variables, [name, "norm1"]))
            y = conv(active, params[name]["conv1"], stride)
            y = activate(norm_reference(y, variables, [name, "norm2"]))
            y = conv(y, params[name]["conv2"], 1)
            if "shortcut" in params[name]:
                before = x if of_input else active
                x = conv(before, params[name]["shortcut"], stride)
            x = x + y
        taps.append(x)
    if "final_norm" in params:
        x = activate(norm_reference(x, variables, ["final_norm"]))
    return dense_reference(x.mean((0, 1)), params["head"]), taps


def small_reference(name, variables, image):
    params, x, taps = variables["params"], image, []

    def conv(key, **kwargs):
        return conv_reference(x, params[key], **kwargs)

    if name == "mlp":
        x = x.reshape(-1)
        for key in ("dense1", "dense2", "dense3"):
            x = relu(dense_reference(x, params[key]))
            taps.append(x[None, None])
    if name == "all_cnn":
        for i in range(1, 9):
            if i in (3, 6):  # "SAME" at stride 2 pads the far side of an even image
                x = conv(f"conv{i}", strides=2, before=0, after=1)
            else:
                x = relu(conv(f"conv{i}"))
                taps.append(x)
        return conv("head", strides=2).mean((0, 1)), taps
    if name in ("lenet", "lenet_v2"):
        for key in ("conv1", "conv2"):
            x = relu(conv(key, before=0 if name == "lenet" else None))
            x = pool_reference(x, 2, 2, 0)
            taps.append(x)
        x = x.reshape(-1)
        for key in ("dense1", "dense2") if name == "lenet" else ("dense1",):
            x = relu(dense_reference(x, params[key]))
    return dense_reference(x, params["head"]), taps


def madry_reference(variables, image, blocks):
    params = variables["params"]

    def leaky(x):
        return np.where(x < 0, 0.1 * x, x)

    x = conv_reference(image, params["stem"])
    taps = []
    for stage, block in itertools.product((1, 2, 3), range(1, blocks + 1)):
        name = f"stage{stage}_block{block}"
        stride = 2 if stage > 1 and block == 1 else 1
        active = leaky(norm_reference(x, variables, [name, "norm1"]))
        x = active if name == "stage1_block1" else x
        y = conv_reference(active, params[name]["conv1"], stride)
        y = leaky(norm_reference(y, variables, [name, "norm2"]))
        y = conv_reference(y, params[name]["conv2"])
        if stride == 2:
            h, w, c = x.shape
            x = x.reshape(h // 2, 2, w // 2, 2, c).mean((1, 3))
        side = (y.shape[-1] - x.shape[-1]) // 2
        x = np.concatenate([np.zeros((*x.shape[:2], side)), x], axis=-1)
        x = np.pad(x, ((0, 0), (0, 0), (0, y.shape[-1] - x.shape[-1]))) + y
        if block == blocks:
            taps.append(x)
    x = leaky(norm_reference(x, variables, ["final_norm"]))
    return dense_reference(x.mean((0, 1)), params["head"]), taps


def vgg_reference(variables, image):
    params, x, taps = variables["params"], image, []
    for stage, convolutions in enumerate((2, 2, 3, 3, 3), start=1):
        for index in range(1, convolutions + 1):
            x = conv_reference(x, params[f"conv{stage}_{index}"])
            x = relu(norm_reference(x, variables, [f"norm{stage}_{index}"]))
        taps.append(x)
        x = pool_reference(x, 2, 2, 0)
    return dense_reference(x.reshape(-1), params["head"]), taps


def googlenet_reference(variables, image):
    params = variables["params"]

    def conv(x, path):
        own = functools.reduce(lambda tree, key: tree[key], path, params)
        x = conv_reference(x, own)
        return relu(norm_reference(x, variables, [*path[:-1], f"{path[-1]}_norm"]))

    x, taps = conv(image, ["stem"]), []
    for module in range(1, 10):
        name = f"inception{module}"
        branches = [
            (x, ("one",)),
            (x, ("three_reduce", "three")),
            (x, ("five_reduce", "five1", "five2")),
            (pool_reference(x, 3, 1, 1), ("pool",)),
        ]
        found = []
        for y, convolutions in branches:
            for key in convolutions:
                y = conv(y, [name, key])
            found.append(y)
        x = np.concatenate(found, axis=-1)
        if module in (2, 7, 9):  # 3b, 4e, 5b
            taps.append(x)
        if module in (2, 7):
            x = pool_reference(x, 3, 2, 1)
    return dense_reference(x.mean((0, 1)), params["head"]), taps


def reference(name, variables, image):
    fields = TINY[name]
    if name == "madry_wrn":
        return madry_reference(variables, image, fields["blocks"])
    if name == "cifar_vgg16":
        return vgg_reference(variables, image)
    if name == "googlenet":
        return googlenet_reference(variables, image)
    dm = name.endswith("_dm")
    if name.startswith("preact_resnet18"):
        of_input = name != "preact_resnet18"
        return preact_reference(variables, image, fields["stage_sizes"], dm, of_input)
    if name.startswith("wrn"):
        blocks = (fields["depth"] - 4) // 6
        return preact_reference(variables, image, (blocks,) * 3, dm)
    if name.startswith("resnet"):
        stem = "imagenet" if name.endswith("imagenet") else "cifar"
        plain = ((fields["depth"] - 2) // 6,) * 3 if "depth" in fields else None
        sizes = fields.get("stage_sizes", plain)
        return residual_reference(variables, image, sizes, stem, "50" in name)
    return small_reference(name, variables, image)
