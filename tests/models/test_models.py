"""Networks against NumPy references, published sizes, and their contract."""

import functools
import itertools

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxadv import specs
from jaxadv.models import MODELS, layers

TINY = {
    "mlp": {},
    "all_cnn": {},
    "lenet": {},
    "lenet_v2": {},
    "resnet18": {"width": 2, "stage_sizes": (1, 1)},
    "resnet34": {"width": 2, "stage_sizes": (2, 1)},
    "resnet50": {"width": 2, "stage_sizes": (1, 1)},
    "resnet18_imagenet": {"width": 2, "stage_sizes": (1, 1)},
    "resnet34_imagenet": {"width": 2, "stage_sizes": (2, 1)},
    "resnet50_imagenet": {"width": 2, "stage_sizes": (1, 1)},
    "preact_resnet18": {"width": 2, "stage_sizes": (1, 2)},
    "wrn_28_10": {"depth": 10, "widen_factor": 1},
    "wrn_34_10": {"depth": 16, "widen_factor": 1},
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
            x = relu(x + y)
        taps.append(x)
    return dense_reference(x.mean((0, 1)), params["head"]), taps


def preact_reference(variables, image, stage_sizes):
    params = variables["params"]
    x = conv_reference(image, params["stem"])
    taps = []
    for stage, blocks in enumerate(stage_sizes, start=1):
        for block in range(1, blocks + 1):
            name = f"stage{stage}_block{block}"
            stride = 2 if stage > 1 and block == 1 else 1
            active = relu(norm_reference(x, variables, [name, "norm1"]))
            y = conv_reference(active, params[name]["conv1"], stride)
            y = relu(norm_reference(y, variables, [name, "norm2"]))
            y = conv_reference(y, params[name]["conv2"])
            if "shortcut" in params[name]:
                x = conv_reference(active, params[name]["shortcut"], stride)
            x = x + y
        taps.append(x)
    x = relu(norm_reference(x, variables, ["final_norm"]))
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
    if name == "preact_resnet18":
        return preact_reference(variables, image, fields["stage_sizes"])
    if name.startswith("wrn"):
        blocks = (fields["depth"] - 4) // 6
        return preact_reference(variables, image, (blocks,) * 3)
    if name.startswith("resnet"):
        stem = "imagenet" if name.endswith("imagenet") else "cifar"
        sizes = fields["stage_sizes"]
        return residual_reference(variables, image, sizes, stem, "50" in name)
    return small_reference(name, variables, image)


@pytest.mark.parametrize("name", TINY)
def test_logits_and_taps_equal_the_numpy_reference(name):
    module = build(name, num_classes=3, **TINY[name])
    shape = (2, 16, 16, 1) if name in ("mlp", "lenet", "lenet_v2") else (2, 8, 8, 3)
    shape = (1, 32, 32, 3) if name == "cifar_vgg16" else shape
    variables, images = random_variables(module, shape), random_images(shape)
    logits, taps = apply_with_taps(module, variables, images)
    for i, image in enumerate(images):
        expected_logits, expected_taps = reference(name, variables, image)
        np.testing.assert_allclose(logits[i], expected_logits, rtol=1e-4, atol=1e-4)
        assert len(taps) == len(expected_taps)
        for tap, expected in zip(taps, expected_taps, strict=True):
            np.testing.assert_allclose(tap[i], expected, rtol=1e-4, atol=1e-4)


def _vgg_count():
    """Weights, biases, scales and offsets of 13 convolutions, and the dense layer."""
    widths = [3, 64, 64, 128, 128, 256, 256, 256, *[512] * 6]
    return sum(9 * a * b + 3 * b for a, b in itertools.pairwise(widths)) + 513 * 10


def _madry_count():
    """Convolutions without biases, two numbers a channel of each normalization."""
    total, channels = 27 * 16, 16
    for features in (160, 320, 640):
        for _ in range(5):
            total += 2 * channels + 9 * channels * features
            total += 2 * features + 9 * features**2
            channels = features
    return total + 2 * 640 + 641 * 10


def _googlenet_count():
    """From the columns of table 1 of Szegedy et al. (2015)."""
    modules = [
        (192, 64, 96, 128, 16, 32, 32, 256), (256, 128, 128, 192, 32, 96, 64, 480),
        (480, 192, 96, 208, 16, 48, 64, 512), (512, 160, 112, 224, 24, 64, 64, 512),
        (512, 128, 128, 256, 24, 64, 64, 512), (512, 112, 144, 288, 32, 64, 64, 528),
        (528, 256, 160, 320, 32, 128, 128, 832),
        (832, 256, 160, 320, 32, 128, 128, 832),
        (832, 384, 192, 384, 48, 128, 128, 1024),
    ]  # fmt: skip

    def conv(kernel, before, after):
        return kernel**2 * before * after + 3 * after

    total = conv(3, 3, 192) + 1025 * 10
    for x, one, r3, three, r5, five, pool, output in modules:
        assert one + three + five + pool == output
        total += conv(1, x, one) + conv(1, x, r3) + conv(3, r3, three)
        total += conv(1, x, r5) + conv(3, r5, five) + conv(3, five, five)
        total += conv(1, x, pool)
    return total


@pytest.mark.parametrize(
    ("name", "classes", "expected"),
    [
        # Also what the common PyTorch implementations for CIFAR-10 have.
        ("cifar_vgg16", 10, 14_728_266),
        ("cifar_vgg16", 10, _vgg_count()),
        ("googlenet", 10, 6_166_250),
        ("googlenet", 10, _googlenet_count()),
        ("madry_wrn", 10, _madry_count()),
        ("resnet18", 10, 11_173_962),
        ("resnet50", 10, 23_520_842),
        ("resnet18_imagenet", 1000, 11_689_512),
        ("resnet34_imagenet", 100, 21_335_972),
        ("resnet50_imagenet", 100, 23_712_932),
        ("preact_resnet18", 10, 11_172_170),
        ("wrn_28_10", 10, 36_479_194),
        ("wrn_34_10", 10, 46_160_474),
        # CIFAR stem: 27 instead of 147 inputs a filter; 90 classes fewer.
        ("resnet34", 10, 21_335_972 - 64 * (147 - 27) - 90 * 513),
        ("mlp", 10, 785 * 128 + 129 * 128 + 129 * 64 + 65 * 10),
        ("lenet", 10, 26 * 6 + 151 * 16 + 257 * 120 + 121 * 84 + 85 * 10),
        ("lenet_v2", 10, 10 * 32 + 289 * 64 + (7 * 7 * 64 + 1) * 128 + 129 * 10),
        (
            "all_cnn",
            10,
            10 * 32 + 289 * 64 + 577 * 128 + 4 * 1153 * 128 + 129 * 128 + 129 * 10,
        ),
    ],
)
def test_parameter_counts(name, classes, expected):
    small = name in ("mlp", "lenet", "lenet_v2", "all_cnn")
    shape = (1, 28, 28, 1) if small else (1, 32, 32, 3)
    variables, _, _ = abstract(build(name, num_classes=classes), shape)
    assert count(variables) == expected


def test_width_scales_the_channels():
    module = build("resnet18", width=16, num_classes=6)
    variables, logits, taps = abstract(module, (1, 32, 32, 3))
    assert [tap.shape[-1] for tap in taps] == [16, 32, 64, 128]
    assert variables["params"]["stem"]["kernel"].shape == (3, 3, 3, 16)
    assert logits.shape == (1, 6)


def maps(*shapes):
    return [(2, side, side, channels) for side, channels in shapes]


@pytest.mark.parametrize(
    ("name", "side", "expected"),
    [
        ("mlp", 32, maps((1, 128), (1, 128), (1, 64))),
        (
            "all_cnn",
            32,
            maps((32, 32), (32, 64), (16, 128), (16, 128), (8, 128), (8, 128)),
        ),
        ("lenet", 32, maps((14, 6), (5, 16))),
        ("lenet_v2", 32, maps((16, 32), (8, 64))),
        ("resnet18", 32, maps((32, 64), (16, 128), (8, 256), (4, 512))),
        ("resnet34", 32, maps((32, 64), (16, 128), (8, 256), (4, 512))),
        ("resnet50", 32, maps((32, 256), (16, 512), (8, 1024), (4, 2048))),
        ("resnet18_imagenet", 224, maps((56, 64), (28, 128), (14, 256), (7, 512))),
        ("resnet34_imagenet", 224, maps((56, 64), (28, 128), (14, 256), (7, 512))),
        ("resnet50_imagenet", 224, maps((56, 256), (28, 512), (14, 1024), (7, 2048))),
        ("preact_resnet18", 32, maps((32, 64), (16, 128), (8, 256), (4, 512))),
        ("wrn_28_10", 32, maps((32, 160), (16, 320), (8, 640))),
        ("wrn_34_10", 32, maps((32, 160), (16, 320), (8, 640))),
        ("madry_wrn", 32, maps((32, 160), (16, 320), (8, 640))),
        (
            "cifar_vgg16",
            32,
            maps((32, 64), (16, 128), (8, 256), (4, 512), (2, 512)),
        ),
        ("googlenet", 32, maps((32, 480), (16, 832), (8, 1024))),
    ],
)
def test_taps_and_dtypes_at_full_size(name, side, expected):
    module = build(name, compute_dtype="bfloat16")
    variables, logits, taps = abstract(module, (2, side, side, 3))
    assert [tap.shape for tap in taps] == expected
    assert {tap.dtype for tap in taps} == {jnp.dtype("bfloat16")}
    assert logits.dtype == jnp.float32 and logits.shape == (2, 10)
    assert set(variables) <= {"params", "batch_stats"}
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("f4")}


def test_global_mean_is_summed_in_float32():
    x = jnp.full((1, 32, 32, 1), 1.0, jnp.bfloat16).at[0, 0, 0].set(2.0)
    mean = layers.global_mean(x)
    assert mean.dtype == jnp.float32 and mean[0, 0] == 1 + 1 / 1024


def test_bfloat16_computes_about_the_same():
    shape = (2, 16, 16, 1)
    variables = random_variables(build("lenet_v2"), shape)
    images = random_images(shape)
    exact, rough = (
        jax.jit(build("lenet_v2", compute_dtype=dtype).apply)(variables, images)
        for dtype in ("float32", "bfloat16")
    )
    assert 0 < np.abs(rough - exact).max() < 0.05 * np.abs(exact).max()


@pytest.mark.parametrize("name", ["resnet18", "preact_resnet18"])
def test_eval_mode_ignores_batch_mates_and_train_mode_does_not(name):
    module = build(name, **TINY[name])
    images = random_images((3, 8, 8, 3))
    mates = images.copy()
    mates[1:] = random_images((2, 8, 8, 3), seed=2)
    variables = random_variables(module, images.shape)
    evaluate = jax.jit(module.apply)

    @jax.jit
    def train(variables, images):
        return module.apply(variables, images, train=True, mutable=["batch_stats"])

    np.testing.assert_array_equal(
        evaluate(variables, images)[0], evaluate(variables, mates)[0]
    )
    logits, stats = train(variables, images)
    assert np.abs(logits[0] - train(variables, mates)[0][0]).max() > 1e-3
    changed = jax.tree.map(
        lambda a, b: bool((a != b).any()),
        stats["batch_stats"],
        variables["batch_stats"],
    )
    assert all(jax.tree.leaves(changed))


def test_running_statistics_move_by_a_tenth():
    norm = layers.batch_norm(True, jnp.float32, "norm")
    x = random_images((4, 3, 3, 2))
    key = jax.random.key(0)
    _, state = jax.jit(
        lambda x: norm.apply(norm.init(key, x), x, mutable=["batch_stats"])
    )(x)
    mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
    np.testing.assert_allclose(state["batch_stats"]["mean"], 0.1 * mean, atol=1e-6)
    np.testing.assert_allclose(state["batch_stats"]["var"], 0.9 + 0.1 * var, atol=1e-6)


@pytest.mark.parametrize("name", ["all_cnn", "lenet_v2"])
def test_dropout_acts_in_train_mode_alone(name):
    module = build(name)
    images = random_images((1, 16, 16, 1))
    variables = random_variables(module, images.shape)

    @jax.jit
    def train(variables, images, seed):
        rngs = {"dropout": jax.random.key(seed)}
        return module.apply(variables, images, train=True, rngs=rngs)

    first, same, other = (train(variables, images, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, same)
    assert np.abs(first - other).max() > 1e-3
    assert np.abs(first - jax.jit(module.apply)(variables, images)).max() > 1e-3


@pytest.mark.parametrize("name", ["lenet_v2", "resnet18"])
def test_one_image_at_a_time_under_vmap_equals_the_batch(name):
    module = build(name, **TINY[name])
    images = random_images((3, 8, 8, 3))
    variables = random_variables(module, images.shape)
    batched = jax.jit(module.apply)

    @jax.jit
    def one_by_one(variables, images):
        return jax.vmap(lambda image: module.apply(variables, image[None])[0])(images)

    np.testing.assert_allclose(
        one_by_one(variables, images), batched(variables, images), rtol=1e-4, atol=1e-5
    )


def test_initializers():
    # The default generator compiles several times slower.
    key, images = jax.random.key(0, impl="rbg"), jnp.zeros((1, 8, 8, 3))

    def init(name, **fields):
        return jax.jit(build(name, **fields).init)(key, images)["params"]

    cifar = init("resnet18", width=32, stage_sizes=(1,))
    kernel, bound = cifar["stage1_block1"]["conv1"]["kernel"], (9 * 32) ** -0.5
    assert 0.99 * bound < np.abs(kernel).max() <= bound
    assert abs(kernel.std() / bound - 3**-0.5) < 0.01
    bias = cifar["head"]["bias"]
    assert 0.5 * 32**-0.5 < np.abs(bias).max() <= 32**-0.5
    he = init("resnet18_imagenet", width=32, stage_sizes=(1,))
    assert abs(he["stem"]["kernel"].std() / (2 / (49 * 32)) ** 0.5 - 1) < 0.05
    wide = init("wrn_28_10", depth=10, widen_factor=2)
    std = wide["stage1_block1"]["conv1"]["kernel"].std()
    assert abs(std / (2 / (9 * 32)) ** 0.5 - 1) < 0.05
    assert not wide["head"]["bias"].any()
    glorot = init("lenet_v2")["dense1"]["kernel"]
    bound = (6 / (2 * 2 * 64 + 128)) ** 0.5
    assert 0.99 * bound < np.abs(glorot).max() <= bound


@pytest.mark.parametrize(("kernel", "side"), [(3, 6), (3, 5), (7, 8), (1, 6)])
def test_stride_two_pads_both_sides_alike(kernel, side):
    kinds = {"kernel_init": layers.TORCH_KERNEL, "dtype": jnp.float32}
    conv = layers.conv(4, kernel, 2, name="conv", **kinds)
    x = random_images((1, side, side, 3))
    params = {"kernel": random_images((kernel, kernel, 3, 4), seed=2)}
    result = conv.apply({"params": params}, x)
    np.testing.assert_allclose(
        result[0], conv_reference(x[0], params, 2), rtol=1e-4, atol=1e-4
    )


_max_pool = jax.jit(layers.max_pool, static_argnums=(1, 2, 3))
_pool_gradient = jax.jit(
    jax.grad(lambda x, weights, *pool: jnp.sum(layers.max_pool(x, *pool) * weights)),
    static_argnums=(2, 3, 4),
)
POOLS = [(2, 2, 0), (2, None, 0), (3, 2, 1), (3, 2, 0), (3, 1, 1), (2, 3, 0), (1, 2, 0)]


@hypothesis.settings(deadline=None, max_examples=30)
@hypothesis.given(
    pool=st.sampled_from(POOLS),
    side=st.sampled_from([(6, 7), (4, 4)]),
    levels=st.integers(1, 4),
    seed=st.integers(0, 100),
)
def test_max_pool_equals_brute_force(pool, side, levels, seed):
    x = np.random.default_rng(seed).integers(-levels, levels, (2, *side, 2))
    window, strides, padding = pool
    x = x.astype(np.float32)
    pooled = _max_pool(x, window, strides, padding)
    for image, result in zip(x, pooled, strict=True):
        expected = pool_reference(image, window, strides or window, padding)
        np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize(("window", "strides", "padding"), POOLS)
def test_max_pool_gradient_without_ties(window, strides, padding):
    rng = np.random.default_rng(0)
    x = rng.permutation(2 * 6 * 7 * 2).reshape(2, 6, 7, 2).astype(np.float32)
    sides, step = (padding, padding), strides or window

    def flax_pool(x):
        return nn.max_pool(x, (window, window), (step, step), (sides, sides))

    weights = rng.standard_normal(jax.eval_shape(flax_pool, x).shape)
    weights, tangent = np.float32(weights), np.float32(rng.standard_normal(x.shape))
    expected = jax.jit(jax.grad(lambda x: jnp.sum(flax_pool(x) * weights)))(x)
    gradient = _pool_gradient(x, weights, window, strides, padding)
    np.testing.assert_allclose(gradient, expected, atol=1e-6)

    @jax.jit
    def push(x, tangent):
        pool = functools.partial(
            layers.max_pool, window=window, strides=strides, padding=padding
        )
        return jax.jvp(pool, (x,), (tangent,))[1]

    pushed = push(x, tangent)
    np.testing.assert_allclose(
        np.sum(pushed * weights), np.sum(gradient * tangent), rtol=1e-4
    )


@hypothesis.settings(deadline=None, max_examples=20)
@hypothesis.given(pool=st.sampled_from([(2, 2, 0), (3, 2, 1)]), seed=st.integers(0, 99))
def test_max_pool_gives_a_tied_window_to_its_first_winner(pool, seed):
    window, strides, padding = pool
    x = np.random.default_rng(seed).integers(0, 2, (1, 4, 4, 1)).astype(np.float32)
    gradient = _pool_gradient(x, 1.0, *pool)
    edges = ((padding, padding), (padding, padding))
    padded = np.pad(x[0, :, :, 0], edges, constant_values=-np.inf)
    expected = np.zeros_like(padded)
    starts = range(0, len(padded) - window + 1, strides)
    for i, j in itertools.product(starts, starts):
        patch = padded[i : i + window, j : j + window]
        row, column = np.unravel_index(patch.argmax(), patch.shape)
        expected[i + row, j + column] += 1
    inside = slice(padding, padding + 4)
    np.testing.assert_array_equal(gradient[0, :, :, 0], expected[inside, inside])


def test_max_pool_returns_a_nan_of_its_window():
    for i, j in itertools.product(range(2), range(2)):
        x = jnp.zeros((1, 2, 4, 1)).at[0, i, j, 0].set(jnp.nan)
        pooled = layers.max_pool(x, 2)[0, 0, :, 0]
        assert jnp.isnan(pooled[0]) and pooled[1] == 0


@pytest.mark.parametrize("name", MODELS)
def test_unknown_fields_are_named_and_linen_s_own_are_not_offered(name):
    for field in ("parent", "num_clases"):
        with pytest.raises(specs.UsageError, match=f"unknown field '{field}'") as error:
            build(name, **{field: 3})
        allowed = str(error.value).split("allowed: ")[1].split(", ")
        assert {"num_classes", "compute_dtype"} <= set(allowed)
        assert not {"parent", "name"} & set(allowed)


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("mlp", {"num_classes": 0}, "num_classes is 0; it must be >= 1"),
        ("mlp", {"compute_dtype": "int8"}, "compute_dtype is 'int8'.*'bfloat16'"),
        ("mlp", {"compute_dtype": "half-ish"}, "compute_dtype is 'half-ish'"),
        ("mlp", {"compute_dtype": None}, "compute_dtype is None"),
        ("resnet18", {"stem": "mnist"}, "stem is 'mnist'; allowed: 'cifar', 'imag"),
        ("resnet50", {"width": 0}, "width is 0; it must be >= 1"),
        ("resnet50", {"stage_sizes": [2, 0]}, r"stage_sizes is \(2, 0\)"),
        ("preact_resnet18", {"stage_sizes": []}, r"stage_sizes is \(\)"),
        ("wrn_28_10", {"depth": 27}, "depth is 27; it must be 6 k"),
        ("wrn_34_10", {"widen_factor": 0}, "widen_factor is 0"),
        ("madry_wrn", {"blocks": 0}, "blocks is 0; it must be >= 1"),
        ("googlenet", {"divisor": 17}, "divisor is 17; it must be <= 16"),
    ],
)
def test_bad_fields_are_told_in_one_line(name, fields, message):
    with pytest.raises(specs.UsageError, match=message) as error:
        build(name, **fields)
    assert "\n" not in str(error.value)
