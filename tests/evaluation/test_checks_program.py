"""R5: what the reader sees in planted and in sound networks, and what it measures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv.classifier import Classifier
from jaxadv.evaluation.checks import Probe, gradients, normalization, program
from jaxadv.models import MODELS
from tests import nets, planted

IMAGES, _ = nets.batch(8)
COMPARISON = "a comparison made a number"
SEEN = {
    "sound": [],
    "in_evaluation": [],
    "recurrent": [],
    "attention": ["stop_gradient"],
    "quantized": ["rounding"],
    "quantized_by_cast": ["rounding"],
    "thermometer": [COMPARISON],
    "binarized": [COMPARISON],
    "signed": ["sign"],
    "winner": ["argmax", COMPARISON],
    "stopped": ["stop_gradient"],
    "partly_stopped": ["stop_gradient"],
    "other_gradient": ["a derivative of its own"],
    "outside": ["a callback", "a derivative of its own"],
    "key_noise": ["random bits of the key"],
    "hidden_noise": ["rounding", "random bits drawn from the image"],
    "fixed_noise": ["random bits of a fixed key"],
    "purified": ["a gradient taken inside"],
    "tied": ["a loop of 2 layers with the same weights"],
    "in_training": ["normalization by statistics of the batch"],
    "no_gradient": ["a loop as long as the image says"],
    "batch_dependent": ["a rule of its own for batches"],
    "winners": ["a choice by rank"],
    "ranked": ["a choice by rank"],
}


def probe(name, images=IMAGES, **fields):
    model = planted.classifier(getattr(planted, name), **fields)
    return Probe(model, images, nets.predicted(model, images))


@pytest.mark.parametrize("name", SEEN)
def test_the_reader_sees_what_was_planted(name):
    model = planted.classifier(getattr(planted, name))
    found = program.read(program.trace(model, IMAGES[0]))
    words = [sight.what.split(" in '")[0].split(" x ")[0] for sight in found]
    assert list(dict.fromkeys(words)) == SEEN[name]


@pytest.mark.parametrize(
    "name, through", [("stopped", True), ("partly_stopped", False)]
)
def test_the_reader_tells_all_ways_from_some(name, through):
    model = planted.classifier(getattr(planted, name))
    (sight,) = program.read(program.trace(model, IMAGES[0]))
    assert sight.through == through


def test_what_does_not_reach_the_logits_is_not_seen():
    def function(variables, image, key):
        jnp.round(image)  # goes nowhere
        rounded = jnp.round(variables["v"])  # does not come from the image
        return variables["w"] @ jnp.tanh((variables["v"] + rounded) @ image.ravel())

    model = planted.classifier(function)
    assert program.read(program.trace(model, IMAGES[0])) == []


@pytest.mark.parametrize("kind", ["branch", "while", "remat", "vmap"])
def test_the_reader_looks_into(kind):
    def rounded(x):
        return jnp.round(4 * x) / 4

    def function(variables, image, key):
        if kind == "branch":
            image = jax.lax.cond(image[0, 0, 0] > 0.5, rounded, jnp.tanh, image)
        elif kind == "while":
            image = jax.lax.while_loop(lambda x: jnp.sum(x) > 99, rounded, image)
        elif kind == "remat":
            image = jax.checkpoint(rounded)(image)
        else:
            image = jax.vmap(jax.jit(rounded))(image)
        return planted.sound(variables, image, key)

    found = program.read(program.trace(planted.classifier(function), IMAGES[0]))
    assert "rounding" in {sight.what.split(" in '")[0] for sight in found}


def _half(variables, image, key):
    kept = jnp.where(variables["stop"] > 0, jax.lax.stop_gradient(image), image)
    return variables["w"] @ kept.reshape(-1)


@pytest.mark.parametrize("stopped", [0, 16, 32, 64])
def test_mismatch_of_a_linear_network_is_the_share_that_is_stopped(stopped):
    images, labels = nets.batch(48)
    stop = jnp.zeros(64).at[:stopped].set(1.0).reshape(nets.SHAPE)
    variables = {"w": nets.linear().variables["w"], "stop": stop}
    found = gradients.mismatch(
        Probe(Classifier.from_function(_half, variables), images, labels)
    )
    share = stopped / 64
    # Four directions an image: the median over images is near the exact ratio.
    assert found == pytest.approx(
        share / (2 - share), abs=0.12 * (0 < share < 1) + 1e-5
    )


@pytest.mark.parametrize(
    "name, verdict, words",
    [
        ("quantized", "fail", ["rounding", "every way", "mismatch 1;", "BPDA"]),
        ("stopped", "fail", ["stop_gradient", "every way", "mismatch 1"]),
        ("partly_stopped", "fail", ["stop_gradient", "BPDA"]),
        ("shattered", "fail", ["jumps", "not the network's"]),
        ("other_gradient", "fail", ["a derivative of its own in '_other_gradient'"]),
        ("same_gradient", "ok", ["a derivative of its own"]),
        ("attention", "ok", ["stop_gradient"]),
        ("hidden_noise", "fail", ["random bits drawn from the image"]),
        ("key_noise", "ok", ["random bits of the key"]),
        ("fixed_noise", "warn", ["fixed key"]),
        ("purified", "warn", ["a gradient taken inside", "inner optimization"]),
        ("in_training", "fail", ["statistics of the batch", "evaluation mode"]),
        ("no_gradient", "warn", ["mismatch nan"]),
        ("winners", "fail", ["a choice by rank", "jumps, mismatch", "square"]),
        ("ranked", "warn", ["a choice by rank", "belongs there"]),
    ],
)
def test_verdicts(name, verdict, words):
    found = program.program(probe(name))
    assert (found.id, found.verdict) == ("R5", verdict), found.line
    for word in words:
        assert word in found.line


def test_normalizing_twice_is_told():
    fields = {"mean": 0.4, "std": 0.3}
    found = program.program(probe("normalized_again", **fields))
    assert found.verdict == "fail" and "twice by the same mean and std" in found.line
    once = normalization.steps(
        trace := program.trace(probe("normalized_again").model, IMAGES[0]),
        trace.inputs[1][0],
    )
    assert [kind for kind, _ in once] == ["shift", "scale"]
    assert float(once[0][1]) == pytest.approx(-0.4)
    assert float(once[1][1]) == pytest.approx(1 / 0.3)


@pytest.mark.parametrize("second, told", [(1.0, ""), (0.2, "normalized by two")])
def test_an_input_batch_norm_is_no_second_normalization(second, told):
    """It keeps mean 0 and deviation 1, where another normalization leaves them."""
    mean, std = float(IMAGES.mean()), float(IMAGES.std())

    def function(variables, image, key):
        scaled = (image - 0.02) * (variables["scale"] * jax.lax.rsqrt(second**2))
        return variables["w"] @ (scaled + 0.01).reshape(-1)

    variables = {**nets.linear().variables, "scale": jnp.ones(1)}
    model = Classifier.from_function(function, variables, mean, std)
    found = normalization.twice(program.trace(model, IMAGES[0]), IMAGES)
    assert found.startswith(told) and bool(found) == bool(told)


SOUND = {
    "mlp": ((8, 8, 1), {}),
    "lenet_v2": ((8, 8, 1), {}),
    "resnet18": ((8, 8, 3), {"width": 4, "stage_sizes": (1, 1)}),
    "preact_resnet18": ((8, 8, 3), {"width": 4, "stage_sizes": (1, 1)}),
    "cifar_alexnet": ((16, 16, 3), {"width": 4, "hidden": 16}),
}


@pytest.mark.parametrize("name", [*SOUND, "resnet50", "all_cnn", "lenet"])
def test_the_reader_sees_nothing_in_the_networks_here(name):
    shape, fields = SOUND.get(name, ((32, 32, 3), {}))
    module = MODELS[name](num_classes=nets.CLASSES, **fields)
    image = jnp.zeros(shape)
    variables = jax.eval_shape(module.init, jax.random.key(0), image[None])
    # Only the shapes matter to the reader.
    variables = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), variables)
    model = Classifier.from_linen(module, variables, mean=0.4, std=0.3)
    assert program.read(program.trace(model, image)) == []
