"""What is wrapped around networks: prefixes, normalizations, a network twice."""

import fractions
import json

import jax
import numpy as np
import pytest

import jaxadv as ja
from jaxadv import weights
from jaxadv.weights import wrappers
from tests.paths import GOLDEN
from tests.weights import zoo
from tests.weights.pickled import fails, write_state

STORED = json.loads((GOLDEN / "zoo.json").read_text())
MEAN, STD = np.float32([0.25, 0.5, 0.75]), np.float32([0.5, 0.125, 1.0])
TOLD = (0.25, 0.5, 0.75), (0.5, 0.125, 1.0)
NET = {"conv.weight": np.ones((2, 3, 1, 1)), "layer1.bias": np.zeros(2)}


def under(prefix, tensors):
    return {f"{prefix}{name}": value for name, value in tensors.items()}


def buffers(mean, std, *shape):
    return {mean: MEAN.reshape(shape), std: STD.reshape(shape)}


def robustness(net):
    """As the package saves it: the network, what normalizes, and both once more."""
    normalizer = buffers("new_mean", "new_std", 3, 1, 1)
    inside = under("model.", net)
    attacker = under("normalize.", normalizer) | inside
    whole = under("normalizer.", normalizer) | inside | under("attacker.", attacker)
    return under("module.", whole)


WRAPPED = {
    "nothing": lambda net: net,
    "data parallel": lambda net: under("module.", net),
    "twice": lambda net: under("module.module.", net),
    "DeepMind's own": lambda net: net | buffers("mean", "std", 3, 1, 1),
    "RobustBench's own": lambda net: under(
        "module.", net | buffers("mu", "sigma", 1, 3, 1, 1)
    ),
    "RobustBench's layer": lambda net: (
        under("model.", net) | buffers("normalize.mean", "normalize.std", 1, 3, 1, 1)
    ),
    "a feature model": lambda net: (
        under("model.", net) | buffers("normalizer.new_mean", "normalizer.new_std", 3)
    ),
    "robustness": robustness,
    "a sequence": lambda net: under("1.", net) | buffers("0.mean", "0.std", 3),
    "smoothing": lambda net: under("1.", net),
    "smoothing of ImageNet": lambda net: under("1.module.", net),
}
SILENT = ("nothing", "data parallel", "twice", "smoothing", "smoothing of ImageNet")


@pytest.mark.parametrize("form", WRAPPED)
def test_networks_are_unwrapped(form):
    given = WRAPPED[form](NET)
    before = dict(given)
    found, told = wrappers.unwrapped(given)
    assert list(found) == list(NET) and list(given) == list(before)
    assert all(found[name] is NET[name] for name in NET)
    assert told == (None if form in SILENT else TOLD)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (
            robustness(NET | buffers("mu", "sigma", 3)),
            "two normalizations, normalizer.new_mean and mu",
        ),
        (
            under("model.", NET | buffers("mean", "std", 3))
            | buffers("mean", "std", 3),
            "two normalizations, mean and mean",
        ),
        (NET | {"mu": MEAN, "sigma": np.ones((3, 2))}, r"sigma has shape \(3, 2\)"),
        (NET | {"mu": MEAN[:0], "sigma": STD}, r"mu has shape \(0,\)"),
        (NET | {"mean": MEAN, "std": np.zeros(3)}, r"std is \[0.0, .*must be > 0"),
        (
            robustness(NET) | {"module.attacker.model.layer1.bias": np.ones(2)},
            "attacker.model.layer1.bias is not model.layer1.bias",
        ),
        (
            robustness(NET) | {"module.attacker.model.more": np.ones(2)},
            "attacker.model.more is not model.more",
        ),
    ],
)
def test_what_is_no_single_network_is_refused(tensors, message):
    fails(wrappers.unwrapped, tensors, match=message)


def test_a_network_that_is_no_number_is_named_as_such():
    broken = NET | {"conv.weight": np.full((2, 3, 1, 1), np.nan)}
    found, _ = wrappers.unwrapped(robustness(broken))
    assert np.isnan(found["conv.weight"]).all()


ARCH = "preact_resnet18_dm"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t | {"mu": MEAN}, r"not used: mu \(3,\)"),
        (lambda t: t | buffers("norm.mean", "norm.std", 3), "not used: norm.mean"),
        (
            lambda t: t | {"mean": MEAN, "std": np.float32([np.nan, 1, 1])},
            "normalization: 1 of the 3 numbers of std",
        ),
        (
            lambda t: {f"module.{k}" if "layer_0" in k else k: t[k] for k in t},
            "missing: layer_0.0.batchnorm_0.bias .*not used: module.layer_0",
        ),
        (
            lambda t: t | {"module.conv_2d.weight": t["conv_2d.weight"]},
            "not used: module.conv_2d.weight",
        ),
        (
            lambda t: t | {"conv_2d.weight": np.full((2, 3, 3, 3), np.inf)},
            "54 of the 54 numbers of conv_2d.weight are NaN or inf",
        ),
        (
            lambda t: t | {"layer_1.0.shortcut.weight": np.ones((4, 2, 1, 1))},
            r"layer_1.0.shortcut.weight has shape \(4, 2, 1, 1\); expected",
        ),
        (lambda t: {k: t[k] for k in t if "running_var" not in k}, "missing: .*_var"),
        (lambda t: under("attacker.model.", t), "attacker.model"),
        (lambda t: t, "give normalization"),
    ],
)
def test_files_that_do_not_fit_are_refused_by_name(tmp_path, change, message):
    path = write_state(tmp_path / "net.pt", change(zoo.state(ARCH)))
    assert str(path) in fails(ja.load, path, ARCH, match=message)


def test_a_normalization_is_not_told_over_the_file_s(tmp_path):
    tensors = zoo.state(ARCH) | buffers("mean", "std", 3, 1, 1)
    path = write_state(tmp_path / "net.pt", tensors)
    fails(ja.load, path, ARCH, "cifar10", match="two normalizations are told")
    assert weights.load(path, ARCH)[2:] == weights.load(path, ARCH, False, TOLD)[2:]


def test_half_a_last_normalization_is_missed(tmp_path):
    tensors = zoo.state("preact_resnet18")
    del tensors["bn.running_mean"]
    path = write_state(tmp_path / "net.pt", tensors)
    message = fails(ja.load, path, "preact_resnet18", "none", match="missing: bn.run")
    assert "not used" not in message


def nested(state):
    """What the robustness package writes around a state dictionary."""
    schedule = fractions.Fraction(1, 3)  # stands for any object of another package
    optimizer = {"state": {0: {"momentum_buffer": None}}, "param_groups": [{"lr": 0.1}]}
    return {"model": state, "optimizer": optimizer, "schedule": schedule, "epoch": 3}


def same_logits(path, arch, *told):
    """The network in the file gives the golden logits, for images in its own units."""
    model = ja.load(path, arch, *told)
    np.testing.assert_allclose(model.mean, MEAN)
    np.testing.assert_allclose(model.std, STD)
    found = jax.vmap(model)(zoo.IMAGES * STD + MEAN)
    np.testing.assert_allclose(found, STORED[arch], rtol=0, atol=1e-4)


@pytest.mark.parametrize("arch", ["resnet50", "resnet50_imagenet"])
def test_a_checkpoint_of_the_robustness_package(tmp_path, arch):
    tensors = robustness(zoo.state(arch))
    same_logits(write_state(tmp_path / "net.pt", tensors, nested), arch)


@pytest.mark.parametrize("arch", ["resnet50", "resnet50_imagenet"])
def test_a_checkpoint_that_pytorch_saves(tmp_path, arch):
    torch = pytest.importorskip("torch")
    tensors = robustness(zoo.state(arch))
    state = {name: torch.from_numpy(np.array(v)) for name, v in tensors.items()}
    torch.save(nested(state), tmp_path / "net.pt")
    same_logits(tmp_path / "net.pt", arch)


@pytest.mark.parametrize(
    ("arch", "form"),
    [
        ("preact_resnet18_dm", "DeepMind's own"),
        ("preact_resnet18_fast", "RobustBench's own"),
        ("resnet18", "RobustBench's layer"),
        ("resnet18_imagenet", "a feature model"),
    ],
)
def test_the_file_s_own_normalization_is_in_the_classifier(tmp_path, arch, form):
    same_logits(write_state(tmp_path / "x.pt", WRAPPED[form](zoo.state(arch))), arch)


@pytest.mark.parametrize(
    ("arch", "wrap", "name"),
    [
        # The training checkpoints of perceptual-advex; those of randomized smoothing.
        ("resnet50", lambda s: {"model": s, "iteration": 9, "arch": "resnet50"},
         "cifar10_robustness"),
        ("resnet50_imagenet", lambda s: {"model": s, "arch": "resnet50"},
         "imagenet100_robustness"),
        ("resnet110", lambda s: {"epoch": 90, "arch": "x", "state_dict": s},
         "cifar10_robustness"),
    ],
)  # fmt: skip
def test_the_normalization_of_public_files_by_name(tmp_path, arch, wrap, name):
    form = "smoothing" if arch == "resnet110" else "nothing"
    path = tmp_path / "checkpoint.pth.tar"
    write_state(path, WRAPPED[form](zoo.state(arch)), wrap)
    found = weights.load(path, arch, normalization=name)
    assert found[2:] == weights.NORMALIZATIONS[name]
    assert weights.NORMALIZATIONS["imagenet100_robustness"][0] == (
        0.4717,
        0.4499,
        0.3837,
    )
