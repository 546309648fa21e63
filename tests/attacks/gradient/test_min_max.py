"""MinMax against the printed algorithm, saddle points, and what it degenerates to."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv import struct
from jaxadv.attacks import Apgd, Ascent, DeepFool, MinMax
from jaxadv.classifier import Classifier
from jaxadv.craft import craft, craft_batches, craft_traced
from jaxadv.models.small import MLP
from jaxadv.numerics import loops
from jaxadv.objectives import CrossEntropy, Expectation, Margin
from jaxadv.objectives.domains import Images, Models, Weighted
from jaxadv.specs import UsageError
from jaxadv.threats import L0, L1, L2, Linf, Shared
from tests import nets
from tests.oracles import min_max as oracle

run, run_traced = jax.jit(craft), jax.jit(craft_traced)
KEY = jax.random.key(0)
BALLS = {"l0": L0(2.0), "l1": L1(0.5), "l2": L2(0.3), "linf": Linf(0.12)}
SMALL = (2, 3, 1)


@struct.dataclass
class Curved:
    """Two logits in the dtype of the image: 0 and tanh(a x) + b x + c."""

    a: jax.Array
    b: jax.Array
    c: jax.Array

    def __call__(self, image, key=None):
        x = image.reshape(-1)
        gap = jnp.tanh(self.a @ x) + self.b @ x + self.c
        return jnp.stack([jnp.zeros_like(gap), gap])


def curved(seed, dtype=np.float64):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, 6))
    return Curved(*(jnp.asarray(v, dtype) for v in (a, b, rng.normal())))


def margins(model, points):
    """F = relu(-margin + kappa) of label 1 with kappa 50, and its gradients."""
    a, b, c = (np.asarray(v) for v in (model.a, model.b, model.c))
    flat = points.reshape(len(points), -1)
    bend = np.tanh(flat @ a)
    slopes = (1 - bend**2)[:, None] * a + b
    return bend + flat @ b + c + 50, slopes.reshape(points.shape)


def ensemble_oracle(models, image):
    def both(delta):
        pairs = [margins(m, (image + delta)[None]) for m in models]
        return tuple(np.concatenate(part) for part in zip(*pairs, strict=True))

    return both


def universal_oracle(model, images):
    return lambda delta: margins(model, images + delta)


@pytest.mark.parametrize("norm", BALLS)
@pytest.mark.parametrize("kind", ["models", "images"])
def test_it_is_the_printed_algorithm(norm, kind):
    """Also where the losses that move w are those of the next gradient."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(5)
        images = rng.uniform(0.1, 0.9, size=(3, *SMALL))
        models = tuple(map(curved, range(3)))
        ball, label = BALLS[norm], np.ones((), np.int32)
        if kind == "images":
            model, given, labels = models[0], images, np.ones(3, np.int32)
            both = universal_oracle(model, images)
            over, threat, boxed = Images(), Shared(ball), images
        else:
            model, given, labels = models, images[0], label
            both = ensemble_oracle(models, given)
            over, threat, boxed = Models(), ball, images[:1]
        numbers = {"step_size": 0.05, "weight_step_size": 0.04, "gamma": 2.0}
        attack = MinMax(
            threat, Weighted(over, Margin(50.0)), steps=12, start="zero", keep="last",
            **numbers,
        )  # fmt: skip
        found, weights = craft_traced(attack, model, KEY, given[None], labels[None])
        want, want_weights = oracle.attack(
            both, np.zeros(SMALL), norm, float(ball.eps), boxed, 12, *numbers.values()
        )
    tolerance = 1e-12
    delta = np.asarray(found.image)[0] - given
    np.testing.assert_allclose(delta - want, 0, atol=tolerance)
    np.testing.assert_allclose(weights[0], want_weights, atol=tolerance)
    assert np.ptp(want_weights[-1]) > 0.05 and np.any(want != 0)


def line(slope, constant):
    """Margin of label 1 over class 0: -(slope . x + constant)."""
    w = np.stack([np.float32(slope), np.zeros(2, np.float32)])
    model = nets.linear((1, 2, 1), classes=2)
    variables = {"w": jnp.array(w), "b": jnp.array([constant, 0.0])}
    return model.replace(variables=variables)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_it_converges_to_the_saddle_point(gamma):
    """Opposed in the first channel, of one mind in the second."""
    a, b, ca, cb = 1.0, 2.0, -0.7, 1.0
    models = (line([a, 1.0], ca), line([-b, 1.0], cb))
    image = np.float32([[[0.5], [0.5]]])
    attack = MinMax(
        Linf(0.2), steps=4000, step_size=0.02, weight_step_size=0.02, gamma=gamma,
        keep="last",
    )  # fmt: skip
    found, weights = run_traced(attack, models, KEY, image[None], np.ones(1, np.int32))
    # w_1 a = w_2 b leaves no gradient; F_i - gamma w_i is then equal in both, where
    # F_1 = -(a x + y + ca) and F_2 = -(-b x + y + cb).
    w = np.array([b, a]) / (a + b)
    x = (cb - ca - gamma * (w[0] - w[1])) / (a + b)
    np.testing.assert_allclose(weights[0, -1], w, atol=1e-3)
    want = image + np.clip([[[x - 0.5], [0.2]]], -0.2, 0.2)
    np.testing.assert_allclose(found.image[0], want, atol=1e-3)


def nets_and_batch(count=16):
    models = tuple(nets.linear(seed=seed) for seed in range(3))
    images, _ = nets.batch(count)
    return models, images, nets.predicted(models[0], images)


def test_one_domain_is_plain_descent():
    """Steps of the raw gradient, computed here by hand."""
    (model, *_), images, labels = nets_and_batch(4)
    attack = MinMax(Linf(0.05), steps=5, step_size=0.003, start="zero", keep="last")
    found = run(attack, (model,), KEY, images, labels)
    alone = run(attack, model, KEY, images, labels)
    gradient = jax.vmap(jax.grad(lambda x, y: Margin()(model, x, y)))
    delta = jnp.zeros_like(images)
    for _ in range(5):
        delta = delta + 0.003 * gradient(images + delta, labels)
        delta = jnp.clip(jnp.clip(delta, -0.05, 0.05), -images, 1 - images)
    np.testing.assert_allclose(found.image, images + delta, atol=1e-6)
    np.testing.assert_array_equal(found.image, alone.image)


def test_a_large_gamma_is_the_average_case():
    models, images, labels = nets_and_batch()
    attack = MinMax(Linf(0.05), steps=10, step_size=0.002, keep="last")
    average = run(attack.replace(fixed=True), models, KEY, images, labels)
    pulled = attack.replace(gamma=1e6)
    found, weights = run_traced(pulled, models, KEY, images, labels)
    np.testing.assert_allclose(weights, 1 / 3, atol=1e-4)
    np.testing.assert_allclose(found.image, average.image, atol=1e-4)


def test_fixed_weights_may_be_any():
    """All on one model is an attack on that model alone."""
    models, images, labels = nets_and_batch()
    attack = MinMax(Linf(0.05), steps=4, step_size=0.003, fixed=True, keep="last")
    only = Weighted(objective=Margin(50.0), weights=(0.0, 1.0, 0.0))
    found = run(attack.replace(objective=only), models, KEY, images, labels)
    alone = run(attack, models[1], KEY, images, labels)
    np.testing.assert_allclose(found.image, alone.image, atol=1e-6)
    with pytest.raises(UsageError, match="one for each of the 3 domains"):
        few = Weighted(weights=(0.5, 0.5))
        run(attack.replace(objective=few), models, KEY, images, labels)


def predictions(models, images):
    return np.stack([nets.predicted(m, images) for m in models], axis=1)


ATTACKS = {
    "min_max": MinMax(Linf(0.06), steps=20, step_size=0.01),
    "pgd": Ascent(Linf(0.06), Weighted(), steps=10, rel_step_size=0.3),
    "apgd": Apgd(Linf(0.06), Weighted(), steps=12),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_success_means_that_every_model_is_wrong(name):
    models, images, labels = nets_and_batch(48)
    found = run(ATTACKS[name], models, KEY, images, labels)
    wrong = predictions(models, found.image) != labels[:, None]
    np.testing.assert_array_equal(found.success, wrong.all(1))
    assert 0.1 < found.success.mean() < 0.99 and not wrong.all()


def test_an_ensemble_goes_through_the_host_driver():
    models, images, labels = nets_and_batch(16)
    attack = ATTACKS["min_max"].replace(steps=4)
    found = run(attack, models, KEY, images, labels)
    host = craft_batches(attack, models, KEY, images, labels, batch_size=2)
    np.testing.assert_allclose(host.image, found.image, atol=1e-5)


def test_min_max_breaks_more_than_the_average():
    models, images, labels = nets_and_batch(64)
    attack = MinMax(Linf(0.06), steps=40, step_size=0.003)
    average, free = (
        run(attack.replace(fixed=fixed), models, KEY, images, labels)
        for fixed in (True, False)
    )
    assert free.success.mean() > average.success.mean() + 0.05


def _parabola(variables, image, key):
    """The margin of label 0 is 0.01 - (x - 0.6)^2: broken near 0.6 alone."""
    return jnp.stack([0.0, variables["top"] - (image[0, 0, 0] - 0.6) ** 2])


def test_the_best_point_is_kept():
    """Steps that overshoot leave the only broken points, where they started."""
    model = Classifier.from_function(_parabola, {"top": jnp.array(0.01)})
    images = np.full((1, 1, 1, 1), 0.65, np.float32)
    attack = MinMax(Linf(0.5), steps=10, step_size=1.1, start="zero")
    best, last = (
        run(attack.replace(keep=keep), model, KEY, images, np.zeros(1, np.int32))
        for keep in ("best", "last")
    )
    assert best.success[0] and not last.success[0]
    assert np.isclose(last.image[0, 0, 0, 0] - 0.6, 0.05 * 1.2**10, atol=1e-4)


def test_targets_are_each_models_own_prediction():
    """The loss is that of the prediction; success stays that of the label."""
    models, images, labels = nets_and_batch(8)
    attack = MinMax(
        Linf(0.05), Weighted(objective=Margin(50.0), targets="prediction"), steps=1,
        step_size=0.002, start="zero", keep="last",
    )  # fmt: skip
    found = run(attack, models, KEY, images, labels)
    targets = predictions(models, images)

    def value(x, targets):
        terms = [Margin()(m, x, y) for m, y in zip(models, targets, strict=True)]
        return sum(terms) / 3

    grad = jax.vmap(jax.grad(value))(images, targets)
    want = np.clip(images + np.clip(0.002 * grad, -0.05, 0.05), 0, 1)
    np.testing.assert_allclose(found.image, want, atol=1e-6)
    assert np.any(targets != labels[:, None])
    wrong = predictions(models, found.image) != labels[:, None]
    np.testing.assert_array_equal(found.success, wrong.all(1))


@pytest.mark.parametrize("start", ["normal", "zero", "random"])
def test_starts_are_inside(start):
    models, images, labels = nets_and_batch(8)
    attack = MinMax(L2(0.3), steps=1, step_size=0.0, start=start, keep="last")
    found = run(attack, models, KEY, images, labels)
    assert np.all(found.size <= 0.3 * (1 + 1e-6))
    assert np.all(found.size == 0) == (start == "zero")


def test_the_trajectory_starts_at_the_first_weights_and_stays_on_the_simplex():
    models, images, labels = nets_and_batch(8)
    first = (0.2, 0.5, 0.3)
    objective = Weighted(objective=Margin(50.0), weights=first)
    attack = MinMax(Linf(0.05), objective, steps=7)
    found, weights = run_traced(attack, models, KEY, images, labels)
    assert weights.shape == (8, 8, 3)
    np.testing.assert_allclose(weights[:, 0], np.tile(first, (8, 1)), atol=1e-6)
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-5)
    assert np.all(weights >= 0) and np.any(weights[:, -1] != weights[:, 1])
    same = run(attack, models, KEY, images, labels)
    np.testing.assert_allclose(found.image, same.image, atol=1e-6)
    with pytest.raises(UsageError, match="one restart"):
        craft_traced(attack.replace(restarts=2), models, KEY, images, labels)


def test_it_names_what_it_cannot_take():
    with pytest.raises(UsageError, match="MinMax.objective is a CrossEntropy"):
        MinMax(Linf(0.1), CrossEntropy())
    with pytest.raises(UsageError, match="Expectation.objective is a Weighted"):
        Expectation(Weighted())
    with pytest.raises(UsageError, match="DeepFool.objective is a Weighted"):
        DeepFool(L2(0.1), Weighted())


def test_a_sweep_compiles_once():
    models, images, labels = nets_and_batch(4)
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, *_, **__: compiled.extend([event] * ("backend_compile" in event))
    )
    attack = MinMax(Linf(0.05), steps=3)
    swept = jax.jit(lambda *a: craft(*a))
    swept(attack, models, KEY, images, labels)
    before = len(compiled)
    assert before
    for value in (0.01, 0.02, 0.5):
        moved = attack.replace(
            threat=Linf(value), gamma=value, step_size=value, weight_step_size=value
        )
        swept(moved, models, KEY, images, labels)
    assert len(compiled) == before


@pytest.mark.parametrize("keep", ["best", "last"])
def test_a_step_costs_one_pass_forward_and_back_of_each_model(keep):
    """Though the weights move by the losses at the new point."""
    images, labels = nets.batch(2, (20, 20, 1))
    variables = MLP(10).init(KEY, images)
    models = (Classifier.from_linen(MLP(10), variables),) * 3

    def bare(model, images, labels):
        def loss(x, y):
            return Margin(50.0)(model, x, y)

        return jax.vmap(jax.value_and_grad(loss))(images, labels)

    def flops(function, *args):
        return jax.jit(function).lower(*args).compile().cost_analysis()["flops"]

    attack = MinMax(Linf(0.1), keep=keep)
    states = jax.vmap(lambda *row: attack.init(KEY, models, *row))(images, labels)

    def steps(models, states, images, labels):
        def one(state, image, label):
            def body(state):
                return attack.step(state, models, image, label)

            return loops.repeat(3, body, state)

        return jax.vmap(one)(states, images, labels)

    step = flops(steps, models, states, images, labels)  # a loop's are counted once
    passes = 3 * flops(bare, models[0], images, labels)
    assert passes < step < 1.1 * passes
