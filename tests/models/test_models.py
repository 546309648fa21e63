"""Networks against NumPy references, published sizes, and their contract."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv import specs
from jaxadv.models import MODELS, layers
from tests.models.references import (
    TINY,
    abstract,
    apply_with_taps,
    build,
    count,
    random_images,
    random_variables,
    reference,
)


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


def _wide_count(depth, widen):
    """As `_madry_count`, and a 1x1 convolution where the channels change."""
    total, channels = 27 * 16, 16
    for features in (16 * widen, 32 * widen, 64 * widen):
        total += channels * features
        for _ in range((depth - 4) // 6):
            total += 2 * channels + 9 * channels * features
            total += 2 * features + 9 * features**2
            channels = features
    return total + 2 * channels + (channels + 1) * 10


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
        # Also what a common PyTorch implementation for CIFAR-10 has.
        ("resnet20", 10, 269_722),
        ("resnet32", 10, 464_154),
        ("resnet44", 10, 658_586),
        ("resnet56", 10, 853_018),
        ("resnet18", 10, 11_173_962),
        ("resnet50", 10, 23_520_842),
        ("resnet18_imagenet", 1000, 11_689_512),
        ("resnet34_imagenet", 100, 21_335_972),
        ("resnet50_imagenet", 100, 23_712_932),
        ("resnet110", 10, 853_018 + 9 * (18 * 21 * 256 + 4 * 112) + 2_752),
        ("preact_resnet18", 10, 11_172_170),
        ("preact_resnet18_fast", 10, 11_172_170),
        # 3x3 shortcuts in the place of 1x1.
        ("preact_resnet18_dm", 10, 11_172_170 + 8 * 64**2 * (2 + 8 + 32)),
        ("wrn_28_10", 10, 36_479_194),
        ("wrn_34_10", 10, 46_160_474),
        ("wrn_34_15", 10, _wide_count(34, 15)),
        ("wrn_34_20", 10, _wide_count(34, 20)),
        ("wrn_40_2", 10, _wide_count(40, 2)),
        ("wrn_70_16", 10, 266_796_506),
        ("wrn_28_10_dm", 10, 36_479_194),
        ("wrn_34_10_dm", 10, 46_160_474),
        ("wrn_34_20_dm", 10, _wide_count(34, 20)),
        ("wrn_70_16_dm", 10, _wide_count(70, 16)),
        ("wrn_82_8_dm", 10, _wide_count(82, 8)),
        ("wrn_94_16_dm", 10, _wide_count(94, 16)),
        ("wrn_106_16_dm", 10, _wide_count(106, 16)),
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
        ("resnet20", 32, maps((32, 16), (16, 32), (8, 64))),
        ("resnet18", 32, maps((32, 64), (16, 128), (8, 256), (4, 512))),
        ("resnet34", 32, maps((32, 64), (16, 128), (8, 256), (4, 512))),
        ("resnet50", 32, maps((32, 256), (16, 512), (8, 1024), (4, 2048))),
        ("resnet18_imagenet", 224, maps((56, 64), (28, 128), (14, 256), (7, 512))),
        ("resnet34_imagenet", 224, maps((56, 64), (28, 128), (14, 256), (7, 512))),
        ("resnet50_imagenet", 224, maps((56, 256), (28, 512), (14, 1024), (7, 2048))),
        ("preact_resnet18", 32, maps((32, 64), (16, 128), (8, 256), (4, 512))),
        ("wrn_28_10", 32, maps((32, 160), (16, 320), (8, 640))),
        ("wrn_34_10", 32, maps((32, 160), (16, 320), (8, 640))),
        ("wrn_70_16", 32, maps((32, 256), (16, 512), (8, 1024))),
        ("wrn_34_20_dm", 32, maps((32, 320), (16, 640), (8, 1280))),
        ("preact_resnet18_dm", 32, maps((32, 64), (16, 128), (8, 256), (4, 512))),
        ("resnet110", 32, maps((32, 16), (16, 32), (8, 64))),
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


def test_the_stem_of_imagenet_for_small_images():
    module = build("resnet34_imagenet", stem="imagenet_3x3")
    variables, _, taps = abstract(module, (2, 32, 32, 3))
    assert variables["params"]["stem"]["kernel"].shape == (3, 3, 3, 64)
    widths = maps((16, 64), (8, 128), (4, 256), (2, 512))
    assert [tap.shape for tap in taps] == widths


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


@pytest.mark.parametrize("train", [False, True])
def test_what_is_computed_again_is_the_same(train):
    plain, again = (
        build("wrn_28_10_dm", depth=10, widen_factor=1, num_classes=3, remat=remat)
        for remat in (False, True)
    )
    images = random_images((2, 8, 8, 3))
    variables = random_variables(plain, images.shape)

    def found(module):
        def total(params):
            logits, state = module.apply(
                {**variables, "params": params}, images, train=train,
                mutable=["batch_stats", "features"],
            )  # fmt: skip
            return jnp.sum(logits**2), (logits, state)

        return jax.jit(jax.grad(total, has_aux=True))(variables["params"])

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4),
        *map(found, (plain, again)),
    )
    text = str(
        jax.make_jaxpr(jax.grad(lambda v: again.apply(v, images).sum()))(variables)
    )
    assert "remat" in text or "checkpoint" in text


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
        (
            "preact_resnet18",
            {"shortcut": "raw"},
            "shortcut is 'raw'; allowed: 'act",
        ),
        ("wrn_28_10", {"depth": 27}, "depth is 27; it must be 6 k"),
        ("wrn_28_10_dm", {"padding": "same"}, "padding is 'same'; allowed: 'both', 'f"),
        ("wrn_28_10_dm", {"activation": "elu"}, "activation is 'elu'; allowed: 'relu'"),
        ("wrn_28_10", {"remat": 1}, "remat is 1; it must be of type bool"),
        ("wrn_34_10", {"widen_factor": 0}, "widen_factor is 0"),
        ("madry_wrn", {"blocks": 0}, "blocks is 0; it must be >= 1"),
        ("googlenet", {"divisor": 17}, "divisor is 17; it must be <= 16"),
    ],
)
def test_bad_fields_are_told_in_one_line(name, fields, message):
    with pytest.raises(specs.UsageError, match=message) as error:
        build(name, **fields)
    assert "\n" not in str(error.value)
