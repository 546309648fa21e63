"""Networks of ImageNet's kind against those of timm and torchvision."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv import specs
from jaxadv.defenses.base import Network
from jaxadv.models import swin
from tests.models import zoo
from tests.models.references import abstract, apply_with_taps, build, count

EVERY = pytest.mark.parametrize("name", zoo.CASES)
FAMILIES = "convnext_t convnext_b_convstem vit_s16_convstem vit_s16 swin_t".split()


@functools.cache
def converted(name):
    return zoo.CASES[name].converted()


@EVERY
def test_logits_and_taps_are_those_of_the_foreign_network(name):
    module, variables = converted(name)
    expected = zoo.golden()[name]
    logits, taps = apply_with_taps(module, variables, zoo.CASES[name].inputs())
    np.testing.assert_allclose(logits, expected["logits"], rtol=0, atol=1e-4)
    probes = [zoo.probed(tap, index) for index, tap in enumerate(taps)]
    np.testing.assert_allclose(probes, expected["taps"], rtol=0, atol=1e-4)


@EVERY
def test_what_is_stored_is_what_torch_computes(name):
    pytest.importorskip("torch")
    make = pytest.importorskip("tests.golden.make_imagenet_networks")
    found, expected = make.computed(name), zoo.golden()[name]
    for key in ("logits", "taps"):
        np.testing.assert_allclose(found[key], expected[key], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # Also what timm's and torchvision's have, but for the convolutional stems.
        ("convnext_t", 28_589_128),
        ("convnext_s", 50_223_688),
        ("convnext_b", 88_591_464),
        ("convnext_l", 197_767_336),
        ("vit_s16", 22_050_664),
        ("vit_b16", 86_567_656),
        ("swin_t", 28_288_354),
        ("swin_b", 87_768_224),
        ("swin_l", 196_532_476),
        ("wide_resnet50_2", 68_883_240),
        ("resnet50_imagenet", 25_557_032),
    ],
)
def test_parameter_counts(name, expected):
    variables, _, _ = abstract(build(name, num_classes=1000), (1, 224, 224, 3))
    assert count(variables) == expected


def _convolution(inputs, outputs, side=3):
    return (side**2 * inputs + 1) * outputs


def _stem(*widths):
    """Convolutions, and two numbers a channel of each normalization."""
    pairs = zip((3, *widths), widths, strict=False)
    return sum(_convolution(*pair) for pair in pairs) + 2 * sum(widths)


@pytest.mark.parametrize(
    ("name", "patches", "stem"),
    [
        ("convnext_t", 51 * 96, _stem(48, 96)),
        ("convnext_s", 51 * 96, _stem(48, 96)),
        ("convnext_b", 51 * 128, _stem(64, 96, 128)),
        ("convnext_l", 51 * 192, _stem(96, 144, 192)),
        ("vit_s16", 769 * 384, _stem(48, 96, 192, 384) + _convolution(384, 384, 1)),
        ("vit_b16", 769 * 768, _stem(48, 96, 192, 384) + _convolution(384, 768, 1)),
    ],
)
def test_parameters_of_convolutional_stems(name, patches, stem):
    counts = [
        count(abstract(build(kind, num_classes=1000), (1, 224, 224, 3))[0])
        for kind in (name, f"{name}_convstem")
    ]
    assert counts[1] - counts[0] == stem - patches


def pyramid(width):
    return [(2, 56 >> i, 56 >> i, width << i) for i in range(4)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("convnext_t", pyramid(96)),
        ("convnext_b_convstem", pyramid(128)),
        ("vit_s16", [(2, 14, 14, 384)] * 4),
        ("vit_b16_convstem", [(2, 14, 14, 768)] * 4),
        ("swin_t", pyramid(96)),
        ("swin_b", pyramid(128)),
    ],
)
def test_taps_and_dtypes_at_full_size(name, expected):
    module = build(name, compute_dtype="bfloat16")
    variables, logits, taps = abstract(module, (2, 224, 224, 3))
    assert [tap.shape for tap in taps] == expected
    assert {tap.dtype for tap in taps} == {jnp.dtype("bfloat16")}
    assert logits.dtype == jnp.float32 and set(variables) == {"params"}
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("f4")}


@pytest.mark.parametrize("name", FAMILIES)
def test_bfloat16_computes_about_the_same(name):
    module, variables = converted(name)
    rough = module.clone(compute_dtype="bfloat16")
    logits = jax.jit(rough.apply)(variables, zoo.CASES[name].inputs())
    exact = np.array(zoo.golden()[name]["logits"])
    assert 0 < np.abs(logits - exact).max() < 0.05 * np.abs(exact).max()


@pytest.mark.parametrize("name", FAMILIES)
def test_recomputed_gradients_are_the_same(name):
    module, variables = converted(name)
    images = zoo.CASES[name].inputs()

    def gradients(module):
        def loss(variables, images):
            logits = module.apply(variables, images, train=True)
            return -jax.nn.log_softmax(logits)[:, 0].sum()

        return jax.grad(loss, argnums=(0, 1))

    kept, recomputed = gradients(module), gradients(module.clone(remat=True))
    programs = (str(jax.make_jaxpr(f)(variables, images)) for f in (kept, recomputed))
    assert ["remat" in program for program in programs] == [False, True]
    expected = jax.jit(kept)(variables, images)
    found = jax.jit(recomputed)(variables, images)
    for a, b in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        assert 0 < np.abs(b).max() < np.inf
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * np.abs(b).max())


@pytest.mark.parametrize("name", FAMILIES)
def test_they_can_be_trained_anew(name):
    module, variables = converted(name)
    shape = zoo.CASES[name].images
    Network(module).check(shape[1:], 7)
    # The default generator compiles several times slower.
    key = jax.random.key(0, impl="rbg")
    made = jax.jit(module.init)(key, jnp.zeros((1, *shape[1:])))
    assert jax.tree.structure(made) == jax.tree.structure(variables)
    # The square of what is cut off at two deviations is 0.774 of the whole.
    kernel = made["params"]["head"]["kernel"]
    assert 0.015 < kernel.std() < 0.021 and np.abs(kernel).max() <= 0.04
    assert not made["params"]["head"]["bias"].any()


@pytest.mark.parametrize(
    ("name", "shape", "words"),
    [
        ("vit_s16", (32, 40), "ViTS16 got images of 32x40 pixels; .* 32x32"),
        ("swin_t", (224, 224), "SwinT got images of 224x224 pixels; .* 48x48"),
        ("convnext_t", (31, 64), "ConvNeXtT got images of 31x64 pixels; .* 32x32"),
    ],
)
def test_images_of_another_size_are_refused(name, shape, words):
    module, variables = converted(name)
    with pytest.raises(specs.UsageError, match=words) as error:
        jax.eval_shape(module.apply, variables, np.zeros((1, *shape, 3), np.float32))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "fields", "words"),
    [
        ("convnext_t", {"stem": "conv4"}, "stem is 'conv4'; allowed: 'patch', 'conv2'"),
        ("convnext_t", {"stage_sizes": (3, 0)}, "stage_sizes is (3, 0)"),
        ("vit_s16", {"width": 100}, "width is 100; it must be a multiple of its 6 he"),
        ("vit_s16", {"image_size": 100}, "image_size is 100; it must be a multiple"),
        ("vit_s16_convstem", {"patch_size": 8}, "patch_size is 8; with the stem 'con"),
        ("swin_t", {"image_size": 256}, "image_size is 256; windows of 7 tokens need"),
        ("swin_t", {"heads": 5}, "width is 96; it must be a multiple of its 5 heads"),
        ("resnet18", {"widen_factor": 2}, "widen_factor is 2; it is for bottlenecks"),
    ],
)
def test_bad_fields_are_told_in_one_line(name, fields, words):
    with pytest.raises(specs.UsageError, match=re.escape(words)) as error:
        build(name, **fields)
    assert "\n" not in str(error.value)


def test_windows_are_cut_and_united():
    x = np.arange(2 * 4 * 6 * 3).reshape(2, 4, 6, 3)
    cut = swin.windows(x, 2)
    np.testing.assert_array_equal(cut[1, 4].reshape(2, 2, 3), x[1, 2:4, 2:4])
    np.testing.assert_array_equal(swin.unite(cut, x.shape, 2), x)


def test_tokens_that_are_no_neighbors_are_apart():
    """Two tokens of a shifted window look at one another where neither went around."""
    side, window, shift = 6, 3, 1
    place = np.stack(np.mgrid[:side, :side], -1)[None]
    rolled = np.roll(place, (-shift, -shift), (1, 2))
    tokens = swin.windows(rolled, window)[0].astype(int)
    near = np.abs(tokens[:, :, None] - tokens[:, None]).max(-1) < window
    part = swin.regions((side, side), window, shift)
    np.testing.assert_array_equal(part[:, :, None] == part[:, None], near)
