"""Random networks: what is drawn, how strong it is, and what it costs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxadv.models import MODELS, layers
from jaxadv.models.noisy import adv_bnn, base, learn2perturb, pni
from jaxadv.specs import UsageError
from tests.models.references import build, random_images, random_variables

KINDS = ("learn2perturb", "pni", "adv_bnn")
SHAPE = (4, 8, 8, 3)
INNER = {"name": "resnet20", "depth": 8, "width": 2}


def make(kind, **fields):
    """A small random network, its variables and images."""
    module = build(kind, network=INNER, num_classes=3, **fields)
    images = random_images(SHAPE)
    keys = {"params": jax.random.key(0), "noise": jax.random.key(1)}
    return module, jax.jit(module.init)(keys, images), images


def logits(module, variables, images, key=0, train=False):
    @jax.jit
    def run(variables, images):
        rngs = {"noise": jax.random.key(key), "dropout": jax.random.key(key)}
        mutable = ["batch_stats", "features"] if train else ["features"]
        return module.apply(variables, images, train=train, mutable=mutable, rngs=rngs)

    return run(variables, images)


def inner_of(variables):
    stats = variables["batch_stats"]["weights"]
    return {"params": variables["params"]["weights"], "batch_stats": stats}


def with_noise(variables, name, value):
    leaves = jax.tree.map(lambda x: jnp.full_like(x, value), variables["params"][name])
    return variables | {"params": {**variables["params"], name: leaves}}


@pytest.mark.parametrize(
    ("kind", "name", "none"),
    [("learn2perturb", "sigma", 0.0), ("pni", "alpha", 0.0),
     ("adv_bnn", "log_sigma", -np.inf)],
)  # fmt: skip
@pytest.mark.parametrize("train", [False, True])
def test_without_noise_it_is_the_network_inside(kind, name, none, train):
    module, variables, images = make(kind)
    silent = with_noise(variables, name, none)
    inside = build(**INNER, num_classes=3)
    wanted, moved = logits(inside, inner_of(variables), images, train=train)
    found, own = logits(module, silent, images, train=train)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        own["features"]["taps"],
        moved["features"]["taps"],
    )
    if train:
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
            own["batch_stats"]["weights"],
            moved["batch_stats"],
        )
    noisy, _ = logits(module, variables, images, train=train)
    assert np.max(np.abs(noisy - wanted)) > 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_the_key_decides_and_all_images_share_the_draw(kind):
    module, variables, images = make(kind)
    images = np.repeat(images[:1], 4, 0)
    first, again, other = (logits(module, variables, images, k)[0] for k in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.max(np.abs(first - other)) > 1e-3
    np.testing.assert_allclose(first, np.repeat(first[:1], 4, 0), atol=1e-6)


def test_maps_of_noise_fit_the_activations_of_any_width():
    def maps(inner, side=32):
        module = build("learn2perturb", network=inner)
        images = jnp.zeros((1, side, side, 3))
        rngs = {"params": jax.random.key(0), "noise": jax.random.key(0)}
        return jax.tree.leaves(
            jax.eval_shape(module.init, rngs, images)["params"]["sigma"]
        )

    for inner, places, total in (
        ({"name": "resnet20"}, 10, 102_400),
        ({"name": "resnet20", "width": 24}, 10, 153_600),
        ({"name": "resnet18"}, 9, 311_296),
        ({"name": "resnet56"}, 28, 102_400 + 18 * (16384 + 8192 + 4096) // 3),
    ):
        found = maps(inner)
        assert (len(found), sum(leaf.size for leaf in found)) == (places, total)


def test_noise_stands_where_the_paper_has_it():
    """Ones at a place move what comes behind its ReLU by one, where nothing is cut."""
    module = build(**INNER, num_classes=3)
    variables = random_variables(module, SHAPE)
    images = random_images(SHAPE)
    _, state = module.apply(variables, images, mutable=["sites", "features"])
    sites = state["sites"]
    names = ["stage1_block1", "stage2_block1", "stage3_block1"]
    assert sorted(sites) == sorted(["site", *names])
    for name, tap in zip(names, state["features"]["taps"], strict=True):
        np.testing.assert_allclose(np.maximum(sites[name]["site"], 0), tap)
    noise = jax.tree.map(lambda x: jnp.ones(x.shape[1:]), sites)
    only = jax.tree.map(jnp.zeros_like, noise)
    only["stage3_block1"] = noise["stage3_block1"]
    _, moved = module.apply(variables | {"noise": only}, images, mutable=["features"])
    wanted = np.maximum(sites["stage3_block1"]["site"] + 1, 0)
    np.testing.assert_allclose(moved["features"]["taps"][2], wanted, rtol=1e-6)


def test_noise_is_of_one_image_size_and_of_networks_with_places():
    module, variables, _ = make("learn2perturb")
    with pytest.raises(UsageError, match="noise fits images of one size alone"):
        logits(module, variables, random_images((2, 16, 16, 3)))
    with pytest.raises(UsageError, match="no place for noise; take a residual"):
        build("learn2perturb", network="lenet").init(
            {"params": jax.random.key(0), "noise": jax.random.key(0)},
            jnp.zeros((1, 28, 28, 1)),
        )
    with pytest.raises(UsageError, match="network is None; give a network"):
        build("pni", network=None)
    with pytest.raises(UsageError, match="random itself"):
        build("pni", network={"name": "adv_bnn", "network": INNER})


def test_deviations_stay_above_their_least_and_earn_their_roots():
    module, variables, _ = make("learn2perturb")
    params = with_noise(variables, "sigma", 0.004)["params"]
    kept = module.constrain(params)
    assert {float(x) for s in jax.tree.leaves(kept["sigma"]) for x in s.ravel()} == {
        np.float32(0.01)
    }
    assert kept["weights"] is params["weights"]
    one = {"sigma": {"site": jnp.full((32, 32, 16), 0.25)}}
    np.testing.assert_allclose(module.penalty(one), -0.5 * 16384, rtol=1e-6)
    slope = jax.grad(module.penalty)(one)["sigma"]["site"]
    np.testing.assert_allclose(slope, -1.0, rtol=1e-6)  # -1 / (2 sqrt(sigma))


def test_gradients_of_deviations_are_those_of_finite_differences(monkeypatch):
    """In float64, with one key; with another one they are others."""
    with jax.enable_x64(True):
        monkeypatch.setattr(layers, "global_mean", lambda x: jnp.mean(x, (1, 2)))
        module = build(
            "learn2perturb", network=INNER, num_classes=3, compute_dtype="float64"
        )
        keys = {"params": jax.random.key(0), "noise": jax.random.key(1)}
        images = jnp.asarray(random_images(SHAPE), jnp.float64)
        variables = jax.tree.map(
            lambda x: jnp.asarray(x, jnp.float64), module.init(keys, images)
        )

        def value(sigma, key):
            given = variables | {"params": {**variables["params"], "sigma": sigma}}
            rngs = {"noise": jax.random.key(key)}
            return jnp.sum(module.apply(given, images, rngs=rngs)[:, 0] ** 2)

        value = jax.jit(value)
        sigma = variables["params"]["sigma"]
        grads = [jax.grad(value)(sigma, key) for key in (3, 4)]
        for number, place in ((0, (0, 0, 0)), (0, (1, 1, 1)), (3, (1, 0, 2))):
            leaves, structure = jax.tree.flatten(sigma)
            rise = 0.0
            for step in (1e-5, -1e-5):
                leaves[number] = jax.tree.leaves(sigma)[number].at[place].add(step)
                rise += float(value(structure.unflatten(leaves), 3)) / (2 * step)
            found, other = (float(jax.tree.leaves(g)[number][place]) for g in grads)
            np.testing.assert_allclose(found, rise, rtol=1e-5, atol=1e-9)
            assert abs(other - rise) > 1e-4 * abs(rise)


def test_weights_have_noise_of_their_own_unbiased_deviation():
    np.testing.assert_allclose(
        pni.deviation(jnp.array([1.0, -1.0, 2.0, 0.0])), 1.290994, rtol=1e-6
    )
    assert pni.deviation(jnp.ones((1, 1))) == 0
    assert not np.any(jax.grad(pni.deviation)(jnp.array([1.0, 2.0])))


@pytest.mark.parametrize(
    ("grain", "shape"), [("layer", ()), ("channel", (2,)), ("element", (3, 3, 3, 2))]
)
def test_the_factors_of_a_kernel(grain, shape):
    module, variables, _ = make("pni", grain=grain)
    alpha, weights = variables["params"]["alpha"], variables["params"]["weights"]
    assert alpha["stem"]["kernel"].shape == shape
    assert "bias" not in alpha["head"] and "stem_norm" not in alpha
    key = jax.random.key(5)
    found = module.randomized(alpha, weights, key)["params"]
    np.testing.assert_array_equal(found["head"]["bias"], weights["head"]["bias"])
    drawn = base.normals(key, pni.kernels(weights))["stem"]["kernel"]
    kernel = weights["stem"]["kernel"]
    moved = 0.25 * np.std(kernel, ddof=1) * drawn
    np.testing.assert_allclose(found["stem"]["kernel"] - kernel, moved, atol=1e-6)
    # dL/dalpha is the sum of eta_i dL/dw_i over what shares the factor.
    grad = jax.grad(
        lambda a: jnp.sum(
            module.randomized(a, weights, key)["params"]["stem"]["kernel"]
        )
    )(alpha)["stem"]["kernel"]
    axes = {"layer": None, "channel": (0, 1, 2), "element": ()}[grain]
    np.testing.assert_allclose(
        grad, np.sum(moved / 0.25, axis=axes), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(
    ("mean", "deviation", "prior", "wanted"),
    [(0.05, 0.1, 0.1, 0.125), (0.0, 0.02, 0.1, 1.129438), (0.08, 0.08, 0.08, 0.5)],
)
def test_divergences_worked_out_by_hand(mean, deviation, prior, wanted):
    found = adv_bnn.kl(jnp.array(mean), jnp.log(deviation), prior)
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_the_divergence_counts_every_parameter():
    module, variables, _ = make("adv_bnn", prior_sigma=0.2, sigma=0.1)
    params = jax.tree.map(jnp.zeros_like, variables["params"])
    number = sum(leaf.size for leaf in jax.tree.leaves(params["weights"]))
    params["log_sigma"] = jax.tree.map(
        lambda x: jnp.full_like(x, np.log(0.1)), params["log_sigma"]
    )
    each = np.log(2) + 0.1**2 / (2 * 0.2**2) - 0.5
    np.testing.assert_allclose(module.penalty(params), number * each, rtol=1e-5)


def test_bayesian_weights_have_their_means_and_deviations():
    module, variables, _ = make("adv_bnn", sigma=0.3)
    params = variables["params"]
    drawn = jax.vmap(
        lambda key: module.randomized(params["log_sigma"], params["weights"], key)
    )(jax.random.split(jax.random.key(0), 4000))["params"]
    for layer, name in (("head", "bias"), ("stem_norm", "scale"), ("stem", "kernel")):
        own = np.asarray(drawn[layer][name])
        np.testing.assert_allclose(
            own.mean(0), params["weights"][layer][name], atol=0.03
        )
        np.testing.assert_allclose(own.std(0), 0.3, atol=0.02)


def test_drawn_numbers_are_independent_and_normal():
    like = {"a": jnp.zeros((50, 40)), "b": jnp.zeros(3000), "c": jnp.zeros(())}
    found = base.normals(jax.random.key(0), like)
    assert jax.tree.map(jnp.shape, found) == jax.tree.map(jnp.shape, like)
    values = np.concatenate([x.ravel() for x in jax.tree.leaves(found)])
    assert len(set(values.tolist())) > 4990
    assert abs(values.mean()) < 0.05 and abs(values.std() - 1) < 0.03


def test_all_are_networks_of_the_registry():
    assert {MODELS[kind].learns for kind in KINDS} == {"sigma", "alpha", "log_sigma"}


class Twice(nn.Module):
    """Two places for noise in one module."""

    num_classes: int = 2
    counts: bool = False

    @nn.compact
    def __call__(self, images, train=False):
        if self.counts:
            self.variable("counts", "calls", jnp.zeros, ())
            return jnp.zeros((len(images), 2))
        x = layers.site(self, layers.site(self, images))
        return nn.Dense(2)(x.reshape(len(images), -1))


@pytest.mark.parametrize(
    ("counts", "words"), [(False, "two places for noise"), (True, "with counts beside")]
)
def test_networks_that_cannot_carry_noise_are_refused(counts, words):
    module = learn2perturb.Learn2Perturb(network=Twice(counts=counts))
    keys = {"params": jax.random.key(0), "noise": jax.random.key(1)}
    with pytest.raises(UsageError, match=words):
        module.init(keys, jnp.zeros(SHAPE))
