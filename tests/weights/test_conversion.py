"""Conversion: every variable is filled from its own tensor."""

import re

import jax
import numpy as np
import pytest
from flax import traverse_util

from jaxadv import weights
from jaxadv.models import MODELS
from tests.weights import patch_layouts
from tests.weights.layouts import SHAPES, UNUSED, same_values, state_of
from tests.weights.pickled import fails


def test_every_layout_is_tested():
    assert set(SHAPES) == set(weights.NAMES) <= set(MODELS)


@pytest.mark.parametrize("arch", weights.NAMES)
def test_conversion_fills_every_variable_from_its_own_tensor(arch):
    tensors = state_of(arch)
    module, variables = weights.convert(tensors, arch)
    assert type(module) is MODELS[arch] and module.num_classes == 7
    side = getattr(module, "image_size", 32)
    if arch == "alexnet" or arch.startswith("stlpips"):
        side = 64
    expected = jax.eval_shape(
        module.init, jax.random.key(0), np.zeros((1, side, side, 3), np.float32)
    )
    assert jax.tree.map(lambda x: (x.shape, x.dtype), dict(expected)) == jax.tree.map(
        lambda x: (x.shape, x.dtype), variables
    )
    # The values of each variable are those of exactly one tensor.
    owner = {
        value.tobytes() if value.ndim == 0 else float(value.ravel()[0]): name
        for name, value in tensors.items()
        if not re.search(UNUSED, name)
    }
    used = []
    for path, value in traverse_util.flatten_dict(variables).items():
        name = owner[float(value.ravel()[0])]
        used.append(name)
        np.testing.assert_array_equal(
            np.sort(value, None), np.sort(tensors[name], None)
        )
        kinds = {"kernel": "weight", "scale": "weight", "bias": "bias",
                 "mean": "running_mean", "var": "running_var"}  # fmt: skip
        assert name.rpartition(".")[2] == kinds.get(path[-1], path[-1])
        if path[-1] == "kernel" and value.ndim == 4:
            np.testing.assert_array_equal(value, tensors[name].transpose(2, 3, 1, 0))
        elif path[-1] == "kernel" and path[-2] != "dense1":
            np.testing.assert_array_equal(value, tensors[name].T)
    assert sorted(used) == sorted(owner.values())


@pytest.mark.parametrize(
    ("arch", "name", "path"),
    [
        ("resnet18", "linear.bias", "params/head/bias"),
        ("resnet50", "layer3.5.bn3.running_var",
         "batch_stats/stage3_block6/norm3/var"),
        ("resnet50", "layer1.0.shortcut.1.weight",
         "params/stage1_block1/shortcut_norm/scale"),
        ("resnet34_imagenet", "layer2.0.downsample.0.weight",
         "params/stage2_block1/shortcut/kernel"),
        ("resnet34_imagenet", "bn1.running_mean", "batch_stats/stem_norm/mean"),
        ("wrn_34_10", "block2.layer.4.bn2.bias", "params/stage2_block5/norm2/bias"),
        ("wrn_34_10", "block1.layer.0.convShortcut.weight",
         "params/stage1_block1/shortcut/kernel"),
        ("wrn_28_10", "bn1.weight", "params/final_norm/scale"),
        ("vgg16", "features.19.bias", "params/conv4_2/bias"),
        ("vgg16", "classifier.3.bias", "params/dense2/bias"),
        ("alexnet", "features.8.bias", "params/conv4/bias"),
        ("cifar_alexnet", "classifier.1.bias", "params/dense1/bias"),
        ("wide_resnet50_2", "layer4.2.conv2.weight",
         "params/stage4_block3/conv2/kernel"),
        ("convnext_t", "stem.1.bias", "params/stem_norm/bias"),
        ("convnext_s", "stages.2.downsample.0.weight", "params/stage3_norm/scale"),
        ("convnext_s", "stages.2.downsample.1.bias", "params/stage3_conv/bias"),
        ("convnext_b", "stages.2.blocks.26.gamma", "params/stage3_block27/gamma"),
        ("convnext_b", "stages.0.blocks.2.conv_dw.weight",
         "params/stage1_block3/conv/kernel"),
        ("convnext_l", "stages.3.blocks.1.mlp.fc2.bias",
         "params/stage4_block2/mlp/fc2/bias"),
        ("convnext_l", "head.norm.weight", "params/final_norm/scale"),
        ("convnext_t_convstem", "stem.stem.4.bias", "params/stem2_norm/bias"),
        ("convnext_b_convstem", "stem.stem.6.weight", "params/stem3/kernel"),
        ("vit_s16", "pos_embed", "params/pos_embed"),
        ("vit_b16", "blocks.11.attn.qkv.weight", "params/block12/attn/qkv/kernel"),
        ("vit_b16", "patch_embed.proj.weight", "params/stem/kernel"),
        ("vit_s16_convstem", "patch_embed.proj.stem.10.weight",
         "params/stem4_norm/scale"),
        ("vit_b16_convstem", "patch_embed.proj.stem.12.weight",
         "params/stem/kernel"),
        ("swin_t", "layers.3.downsample.reduction.weight",
         "params/stage4_merge/kernel"),
        ("swin_b", "layers.2.blocks.17.attn.relative_position_bias_table",
         "params/stage3_block18/relative_position_bias_table"),
        ("swin_l", "layers.0.blocks.1.norm2.bias",
         "params/stage1_block2/norm2/bias"),
        ("stlpips_alexnet", "net.slice4.11.bias", "params/conv4/bias"),
        ("stlpips_vgg16", "net.slice4.22.bias", "params/conv4_2/bias"),
        ("stlpips_vgg16", "net.slice1.2.weight", "params/conv1_2/kernel"),
    ],
)  # fmt: skip
def test_names_by_hand(arch, name, path):
    tensors = state_of(arch)
    _, variables = weights.convert(tensors, arch)
    value = traverse_util.flatten_dict(variables, sep="/")[path]
    same_values(value, tensors[name])


def test_widths_are_taken_from_the_shapes():
    module, _ = weights.convert(state_of("resnet18"), "resnet18")
    assert module.width == 2
    module, _ = weights.convert(state_of("wrn_28_10"), "wrn_28_10")
    assert module.widen_factor == 2
    module, _ = weights.convert(state_of("vgg16"), "vgg16")
    assert (module.width, module.hidden) == (2, 5)
    module, _ = weights.convert(state_of("wide_resnet50_2"), "wide_resnet50_2")
    assert (module.width, module.widen_factor) == (2, 2)
    module, _ = weights.convert(state_of("vit_b16_convstem"), "vit_b16_convstem")
    assert (module.width, module.stem_width, module.image_size) == (12, 1, 32)
    module, _ = weights.convert(state_of("swin_l"), "swin_l")
    assert (module.heads, module.window, module.image_size) == (2, 3, 96)


def test_older_names_of_swin_give_the_same():
    tensors = state_of("swin_t")
    older = patch_layouts.older_swin(tensors)
    assert "head.bias" in older and "layers.0.downsample.norm.bias" in older
    for buffer in ("attn.relative_position_index", "attn_mask"):
        older[f"layers.0.blocks.1.{buffer}"] = np.zeros(3, np.int64)
    module, variables = weights.convert(older, "swin_t")
    expected_module, expected = weights.convert(tensors, "swin_t")
    assert module == expected_module
    jax.tree.map(np.testing.assert_array_equal, variables, expected)
    gone = without(older, "layers.1.downsample.norm.bias")
    words = r"missing: layers.1.downsample.norm.bias \(32,\)$"
    fails(weights.convert, gone, "swin_t", match=words)


def without(tensors, *names):
    return {k: v for k, v in tensors.items() if k not in names}


def test_misfits_name_tensor_and_shapes():
    tensors = state_of("resnet18")
    extra = {**tensors, "extra.weight": np.zeros((2, 3), np.float32)}
    fails(weights.convert, extra, "resnet18", match=r"not used: extra.weight \(2, 3\)$")
    gone = without(tensors, "layer1.1.bn2.bias")
    fails(
        weights.convert, gone, "resnet18", match=r"missing: layer1.1.bn2.bias \(2,\)$"
    )
    bent = {**tensors, "layer1.0.conv1.weight": np.zeros((2, 2, 5, 5), np.float32)}
    message = fails(weights.convert, bent, "resnet18")
    assert (
        "layer1.0.conv1.weight has shape (2, 2, 5, 5); expected (2, 2, 3, 3)" in message
    )
    message = fails(weights.convert, tensors, "resnet34")
    assert "missing: layer1.2.bn1.bias (2,), layer1.2.bn1.running_mean" in message
    assert "more" in message
    fails(weights.convert, tensors, "resnet50_imagenet", match="fc.weight is missing")
    fails(weights.convert, tensors, "resnet19", match="arch: unknown name 'resnet19'")
    fails(weights.convert, tensors, "resnet18", True, match="resnet18 has none")
    headless = {k: v for k, v in state_of("vgg16").items() if "classifier" not in k}
    fails(weights.convert, headless, "vgg16", match="set trunk=True")
    module, _ = weights.convert(headless, "vgg16", trunk=True)
    assert module.trunk
    odd = state_of("cifar_alexnet")
    odd["classifier.1.weight"] = np.zeros((5, 24), np.float32)
    fails(weights.convert, odd, "cifar_alexnet", match="classifier.1.weight has shape")


def test_constants_are_compared():
    tensors = state_of("stlpips_alexnet")
    name = "net.slice2.4.filt"
    for other in (1.01 * tensors[name], np.ones((2, 1, 5, 5)), np.ones(3)):
        bent = {**tensors, name: np.float32(other)}
        match = "net.slice2.4.filt .* is not the constant"
        fails(weights.convert, bent, "stlpips_alexnet", True, match=match)
    weights.convert(without(tensors, name), "stlpips_alexnet", True)
