"""Fast-LPA and LPA retrace the NumPy reference, step by step, from the same start.

In double precision whole runs are compared. In single precision the attack is put
back on the reference's path before every step, because a ReLU network is piecewise
smooth and rounding may send two long runs to different sides of a kink.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv.attacks import base
from jaxadv.attacks.perceptual import lagrange
from jaxadv.attacks.perceptual.lagrange import FastLpa, Lpa
from jaxadv.classifier import Classifier
from jaxadv.craft import craft
from jaxadv.objectives import Margin
from jaxadv.threats.lpips import LpipsBall
from tests.oracles import perceptual as oracle

COUNT, STEPS, ROUNDS, ROUND_STEPS = 4, 8, 5, 4  # t / T exact in binary
NETWORK = oracle.random_network(0)
EPS = np.array([0.05, 0.2, 0.1, 0.1])  # found in a late, middle, early round, never


def _examples():
    """COUNT images, their predicted labels and starts, as float64 arrays."""
    images, labels, starts = [], [], []
    for seed in range(COUNT):
        random = np.random.default_rng(seed)
        image = random.uniform(size=(4, 4, 3))
        noise = 0.01 * random.normal(size=image.shape)
        images.append(image)
        labels.append(int(np.argmax(oracle.forward(NETWORK, image)[0])))
        starts.append(np.clip(image + noise, 0.0, 1.0))
    return np.stack(images), np.array(labels), np.stack(starts)


IMAGES, LABELS, STARTS = _examples()


def _taps(variables, image, key):
    taps, hidden = [], image[None]
    for kernel, bias, pad in zip(*variables["convolutions"], (1, 0), strict=True):
        hidden = jax.lax.conv_general_dilated(
            hidden, kernel, (1, 1), [(pad, pad)] * 2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )  # fmt: skip
        hidden = jax.nn.relu(hidden + bias)
        taps.append(hidden[0])
    return tuple(taps)


def _logits(variables, image, key):
    dense, bias = variables["dense"]
    return _taps(variables, image, key)[-1].reshape(-1) @ dense + bias


def _model():
    """The oracle's network; float32 unless jax is in its 64-bit mode."""
    net = NETWORK
    variables = {
        "convolutions": ((net.kernel1, net.kernel2), (net.bias1, net.bias2)),
        "dense": (net.dense, net.bias),
    }
    return Classifier.from_function(
        _logits, jax.tree.map(jnp.asarray, variables), net.mean, net.std, _taps
    )


@jax.jit
@jax.vmap
def _advance(attack, model, state, image, label):
    key = jax.random.key_data(jax.random.key(0))
    threat = attack.threat.bind(model, image, label, key)
    return attack.replace(threat=threat).step(state, model, image, label)


def _each(tree):
    """The same numbers for every example, in the widest precision that is on."""
    return jax.tree.map(lambda x: jnp.asarray(np.stack([x] * COUNT)), tree)


class _Run:
    """An attack on all examples, started at given points."""

    def __init__(self, attack, starts=STARTS):
        self.images = jnp.asarray(IMAGES)
        self.labels = jnp.asarray(LABELS)
        self.model = _each(_model())
        self.attack = jax.vmap(
            lambda one, eps: one.replace(threat=one.threat.replace(eps=eps))
        )(_each(attack), jnp.asarray(EPS, self.images.dtype))
        keys = jax.random.key_data(jax.random.split(jax.random.key(0), COUNT))
        state = jax.vmap(type(attack).init)(
            self.attack, keys, self.model, self.images, self.labels
        )
        if isinstance(attack, Lpa):  # a multiplier of 0.01 to the last bit
            state = state.replace(own=jnp.full(COUNT, 0.01, self.images.dtype))
        self.state = state
        self.put(starts)

    def put(self, points):
        params = jnp.asarray(points, self.images.dtype) - self.images
        self.state = self.state.replace(params=params)

    def step(self):
        """One step; the points after it [COUNT, h, w, c]."""
        self.state = _advance(
            self.attack, self.model, self.state, self.images, self.labels
        )
        return self.points(self.state.params)

    def points(self, params):
        return np.asarray(
            jax.vmap(type(self.attack.threat).apply)(
                self.attack.threat, params, self.images
            )
        )


def _ball(derivative="secant"):
    return LpipsBall(0.5, derivative=derivative)


def _fast(options, derivative="secant", steps=STEPS):
    return FastLpa(
        _ball(derivative),
        steps=steps,
        count_from=options.count_from,
        damping=options.damping,
    )


def _searching(options):
    return Lpa(
        _ball(),
        Margin(options.kappa),
        rounds=ROUNDS,
        round_steps=ROUND_STEPS,
        count_from=options.count_from,
        damping=options.damping,
    )


def _fast_reference(options, starts=STARTS):
    """[COUNT, STEPS + 1, h, w, c]."""
    return np.stack(
        [
            oracle.fast_lpa(NETWORK, image, label, start, eps, STEPS, options)
            for image, label, start, eps in zip(
                IMAGES, LABELS, starts, EPS, strict=True
            )
        ]
    )


def _searches(options, **choices):
    return [
        oracle.lpa(
            NETWORK, image, label, start, eps, ROUNDS, ROUND_STEPS, options, **choices
        )
        for image, label, start, eps in zip(IMAGES, LABELS, STARTS, EPS, strict=True)
    ]


# The attacks stay in the unit box, in the paper's form too, and divide by the
# gradient's norm itself; see `Options` for what else the public code does.
PAPER = oracle.PAPER._replace(clamp=True)
CODE = oracle.FAST_CODE._replace(norm_eps=0.0)
SEARCH = oracle.LPA_CODE._replace(norm_eps=0.0)
FORMS = {"paper": PAPER, "code": CODE}


def test_the_oracles_gradients_are_those_of_its_values():
    random = np.random.default_rng(0)
    clean, image, other = IMAGES[0], IMAGES[1], STARTS[0]
    weights = random.normal(size=oracle.embed(NETWORK, image).shape)
    cases = {
        "phi": (
            lambda x: oracle.embed(NETWORK, x) @ weights,
            oracle.embed_transpose(NETWORK, image, weights),
        ),
        "distance": (
            lambda x: oracle.distance(NETWORK, x, clean),
            oracle.distance_gradient(NETWORK, image, clean),
        ),
        "margin": (
            lambda x: oracle.margin(NETWORK, x, LABELS[1])[0],
            oracle.margin(NETWORK, image, LABELS[1])[1],
        ),
        "lagrangian": (
            lambda x: oracle.lagrangian(NETWORK, x, LABELS[1], clean, 3.0, 0.1)[0],
            oracle.lagrangian(NETWORK, image, LABELS[1], clean, 3.0, 0.1)[1],
        ),
    }
    for name, (value, gradient) in cases.items():
        along = random.normal(size=image.shape)
        step = 1e-6 * along
        measured = (value(image + step) - value(image - step)) / 2e-6
        np.testing.assert_allclose(
            np.sum(gradient * along), measured, rtol=1e-6, err_msg=name
        )
    assert not oracle.distance_gradient(NETWORK, clean, clean).any()
    inside = oracle.lagrangian(NETWORK, other, LABELS[0], clean, 3.0, 10.0)
    np.testing.assert_array_equal(
        inside[1], oracle.margin(NETWORK, other, LABELS[0])[1]
    )


def test_the_secant_goes_along_the_ascent_in_either_sign_convention():
    for options in (oracle.FAST_CODE, oracle.LPA_CODE, PAPER):
        arguments = NETWORK, STARTS[0], LABELS[0], IMAGES[0], 2.0, 0.1, 0.01, options
        np.testing.assert_allclose(
            oracle.ascend(*arguments), oracle.descend(*arguments), atol=1e-12
        )


@pytest.mark.parametrize(
    ("count_from", "lams", "shrinks"),
    [
        (
            0,
            "1 1.2589 1.5849 1.9953 2.5119 3.1623 3.9811 5.0119 6.3096 7.9433",
            "1 .7943 .6310 .5012 .3981 .3162 .2512 .1995 .1585 .1259",
        ),
        (
            1,
            "1.2589 1.5849 1.9953 2.5119 3.1623 3.9811 5.0119 6.3096 7.9433 10",
            ".7943 .6310 .5012 .3981 .3162 .2512 .1995 .1585 .1259 .1",
        ),
    ],
    ids=["code", "paper"],
)
def test_schedules_are_those_of_the_paper_and_of_the_code(
    monkeypatch, count_from, lams, shrinks
):
    lams = np.array(lams.split(), float)
    shrinks = np.array(shrinks.split(), float)
    etas, multipliers = oracle.schedules(10, 0.5, oracle.Options(count_from=count_from))
    np.testing.assert_allclose(multipliers, lams, atol=5e-5)
    np.testing.assert_allclose(etas, 0.5 * shrinks, atol=3e-5)

    seen = []

    def note(attack, multiplier, length, params, *rest):
        distance = jnp.float32(9.0)
        seen.append((float(multiplier(distance)), float(length)))
        return lagrange.Move(params, distance, multiplier(distance))

    monkeypatch.setattr(lagrange, "move", note)
    image, label = jnp.zeros((2, 2, 1)), 0
    model = Classifier.from_function(lambda bias, x, key: bias, jnp.arange(2.0))
    fast = FastLpa(_ball(), steps=10, count_from=count_from)
    search = Lpa(_ball(), rounds=2, round_steps=10, count_from=count_from)
    for attack in (fast, search):
        state = attack.init(jax.random.key(0), model, image, label)
        for _ in range(attack.steps):
            state = attack.step(state, model, image, label)
    expected = np.stack([multipliers, etas], axis=1)
    np.testing.assert_allclose(seen[:10], expected, rtol=1e-6)
    # Outside the ball throughout: the second round has ten times the multiplier.
    rounds = [np.stack([np.full(10, lam), etas], axis=1) for lam in (0.01, 0.1)]
    np.testing.assert_allclose(seen[10:], np.concatenate(rounds), rtol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_fast_lpa_follows_the_reference_in_double_precision(form):
    expected = _fast_reference(FORMS[form])
    with jax.enable_x64(True):
        run = _Run(_fast(FORMS[form]))
        for t in range(STEPS):
            points = run.step()
            assert points.dtype == np.float64
            np.testing.assert_allclose(points, expected[:, t + 1], rtol=0, atol=1e-9)


def test_each_step_of_fast_lpa_is_the_references_in_single_precision():
    expected = _fast_reference(PAPER)
    run, diameter = _Run(_fast(PAPER)), IMAGES[0].size ** 0.5
    for t in range(STEPS):
        run.put(expected[:, t])
        points = run.step()
        assert points.dtype == np.float32
        for i in range(COUNT):
            step = np.linalg.norm(expected[i, t + 1] - expected[i, t])
            error = np.linalg.norm(points[i] - expected[i, t + 1])
            # A few roundings of phi in the secant, and one or two of each pixel.
            assert error < 1e-5 * step + 2**-24 * diameter, (i, t, error, step)


@pytest.mark.parametrize("change", [{"secant_sign": -1.0}, {"h": 0.05}, {"damping": 1}])
def test_another_secant_is_another_attack(change):
    # What the comparisons above can see: each is off by far more than rounding.
    expected, changed = (
        _fast_reference(options)[:, 1] for options in (PAPER, PAPER._replace(**change))
    )
    points = _Run(_fast(PAPER)).step()
    assert np.abs(points - expected).max() < 1e-5
    assert np.abs(points - changed).max() > 1e-3


def test_exact_derivatives_are_the_limit_of_a_small_secant():
    tiny = _fast_reference(PAPER._replace(h=1e-7))
    with jax.enable_x64(True):
        points = _Run(_fast(PAPER, "exact")).step()
    np.testing.assert_allclose(points, tiny[:, 1], rtol=0, atol=1e-6)
    assert np.abs(points - _fast_reference(PAPER)[:, 1]).max() > 1e-3


def test_lpa_follows_the_reference_through_all_rounds():
    moving = _searches(SEARCH, freeze=False)
    frozen = _searches(SEARCH)
    with jax.enable_x64(True):
        run = _Run(_searching(SEARCH))
        for t in range(ROUNDS * ROUND_STEPS):
            points = run.step()
            for i, search in enumerate(moving):
                np.testing.assert_allclose(
                    points[i], search.points[t + 1], rtol=0, atol=1e-9
                )
            np.testing.assert_allclose(run.state.own, [s.lams[t] for s in moving])
            found = [s.found is not None and s.found <= t for s in frozen]
            np.testing.assert_array_equal(run.state.best.broken, found)


def test_lpa_freezes_each_image_at_the_point_that_was_verified():
    searches = _searches(SEARCH)
    counts = [s.found for s in searches]
    assert None in counts and len(set(counts)) == COUNT, counts
    with jax.enable_x64(True):
        run = _Run(_searching(SEARCH))
        for _ in range(ROUNDS * ROUND_STEPS):
            before = run.state
            run.step()
            run.state = jax.vmap(base.select)(before.done, before, run.state)
        verified = run.points(run.state.best.params)
        last = run.points(run.state.params)
    for i, search in enumerate(searches):
        kept = last[i] if search.found is None else verified[i]
        np.testing.assert_allclose(kept, search.points[-1], rtol=0, atol=1e-9)
        used = ROUNDS * ROUND_STEPS if search.found is None else search.found + 1
        assert run.state.count[i] == used
        np.testing.assert_allclose(run.state.own[i], search.lams[used - 1])


def test_craft_returns_the_references_verified_point():
    images, labels = jnp.asarray(IMAGES, jnp.float32), jnp.asarray(LABELS)
    model, key = _model(), jax.random.key(3)
    attack = Lpa(_ball(), Margin(), rounds=2, round_steps=ROUND_STEPS)
    found = jax.jit(craft)(attack, model, key, images, labels)
    starts = [
        attack.init(
            jax.random.fold_in(jax.random.fold_in(jax.random.key_data(key), i), 0),
            model,
            images[i],
            labels[i],
        ).params
        for i in range(COUNT)
    ]
    successes = 0
    for i in range(COUNT):
        clean = np.asarray(images[i], np.float64)
        search = oracle.lpa(
            NETWORK, clean, LABELS[i], clean + starts[i], 0.5, 2, ROUND_STEPS, PAPER
        )
        assert oracle.distance(NETWORK, found.image[i], clean) <= 0.5
        if search.found is None:
            continue
        successes += 1
        assert found.success[i]
        assert found.steps_used[i] == search.found + 1
        np.testing.assert_allclose(found.image[i], search.points[-1], atol=2e-5)
    assert successes >= 2
