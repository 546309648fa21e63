"""Single draws of a random network beside their mean, and gradients without noise."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv import objectives, protocols
from jaxadv.attacks import Ascent
from jaxadv.classifier import Classifier
from jaxadv.evaluation import metrics
from jaxadv.evaluation.judging import inputs
from jaxadv.evaluation.judging.judge import Judge
from jaxadv.evaluation.metrics.draws import DRAWS
from jaxadv.evaluation.table import Table
from jaxadv.models.noisy import adv_bnn, pni
from jaxadv.objectives import CrossEntropy, Expectation, FixedDraws, WithoutNoise
from jaxadv.specs import UsageError
from jaxadv.threats import Linf
from tests import nets
from tests.training.small import CLASSES, SHAPE, Small

DRAWN = 40


def noisy(variables, image, key):
    """Two classes, of which 1 is said with a probability that the image's mean sets."""
    return jnp.array([0.5, jax.random.uniform(key) + jnp.mean(image) - 0.5])


MODEL = Classifier.from_function(noisy, None)


def images(levels):
    return np.broadcast_to(
        np.asarray(levels, np.float32)[:, None, None, None], (len(levels), 2, 2, 1)
    ).copy()


def test_the_judge_counts_the_draws_that_say_the_label():
    shown = images([0.0, 0.5, 1.0])
    found = Judge(MODEL, 4, DRAWN).verdict(
        jax.random.key(0), shown, np.ones(3, np.int32), np.arange(3)
    )
    wanted = []
    for example, image in enumerate(shown):
        own = jax.random.fold_in(jax.random.key_data(jax.random.key(0)), example)
        keys = jax.random.split(own, DRAWN)
        logits = np.asarray(jax.vmap(lambda k, x=image: noisy(None, x, k))(keys))
        wanted.append(int(np.sum(logits[:, 1] > logits[:, 0])))
    np.testing.assert_array_equal(found["draws_right"], wanted)
    assert wanted[0] == 0 and wanted[2] == DRAWN and 10 < wanted[1] < 30
    alone = Judge(MODEL, 4).verdict(
        jax.random.key(0), shown, np.ones(3, np.int32), np.arange(3)
    )
    assert "draws_right" not in alone


def test_of_an_ensemble_the_draws_are_those_of_the_network_that_is_nearest():
    never = Classifier.from_function(lambda v, x, key: jnp.array([1.0, 0.0]), None)
    found = Judge((never, MODEL), 4, DRAWN).verdict(
        jax.random.key(0), images([1.0]), np.ones(1, np.int32), np.arange(1)
    )
    assert found["draws_right"][0] == DRAWN and found["margin"][0] < 0


def table():
    """Three images, the last of which the mean prediction has wrong."""
    columns = {
        "id": np.arange(3),
        "label": np.zeros(3, np.int32),
        "clean/margin": np.array([-1.0, -1.0, 1.0]),
        "clean/draws_right": np.array([10, 6, 4]),
        "attack/pgd/success": np.array([False, True, True]),
        "attack/pgd/draws_right": np.array([8, 3, 4]),
    }
    return Table(columns, {"draws": 10, "attacks": {"pgd": {"eps": 1, "eot": 8}}})


def test_accuracies_of_a_draw_and_of_the_majority_by_hand():
    found = DRAWS.compute(table())
    clean, pgd = found["attacks"][""], found["attacks"]["pgd"]
    assert found["draws"] == 10 and pgd["eot"] == 8
    np.testing.assert_allclose(
        [clean["mean"], clean["single"], clean["majority"]], [2 / 3, 2.0 / 3, 2 / 3]
    )
    np.testing.assert_allclose(
        [pgd["mean"], pgd["single"], pgd["majority"]], [1 / 3, 1.5 / 3, 1 / 3]
    )
    np.testing.assert_allclose(clean["deviation"], (0.48 * 10 / 9) ** 0.5 / 3)


def test_the_deviation_is_that_of_repeated_evaluations():
    rng = np.random.default_rng(0)
    chance = rng.uniform(size=50)
    repeats = np.mean(rng.uniform(size=(4000, 50)) < chance, axis=1)
    found = []
    for _ in range(300):
        columns = {
            "id": np.arange(50),
            "clean/margin": -np.ones(50),
            "clean/draws_right": rng.binomial(20, chance),
        }
        told = DRAWS.compute(Table(columns, {"draws": 20, "attacks": {}}))
        found.append(told["attacks"][""]["deviation"])
    np.testing.assert_allclose(np.mean(found), np.std(repeats), rtol=0.05)


def test_it_is_told_only_where_there_are_several_draws():
    report = {"draws": DRAWS.compute(table())}
    (section,) = DRAWS.sections(report)
    assert section.rows[0][2] == "mean of 10 draws"
    assert section.rows[2] == ("pgd", "8", "33.33", "50.00 ± 27.44", "33.33")
    assert not list(DRAWS.sections({})) and not DRAWS.csv({})
    alone = table()
    del alone.columns["clean/draws_right"]
    assert DRAWS.needs not in alone.columns
    assert "draws" in metrics.METRICS


# The gradient without noise ---------------------------------------------------------


def random_network(kind=pni.Pni):
    module = kind(network=Small(), num_classes=CLASSES)
    keys = {"params": jax.random.key(0), "noise": jax.random.key(1)}
    variables = module.init(keys, jnp.zeros((1, *SHAPE)))
    return Classifier.from_linen(module, variables, rngs=("noise",)), variables


@pytest.mark.parametrize("kind", [pni.Pni, adv_bnn.AdvBnn])
def test_the_objective_is_that_of_the_network_inside(kind):
    model, variables = random_network(kind)
    inside = Classifier.from_linen(
        Small(num_classes=CLASSES), {"params": variables["params"]["weights"]}
    )
    image, key = jnp.full(SHAPE, 0.3), jax.random.key(2)
    for objective in (CrossEntropy(), objectives.Margin()):
        value = WithoutNoise(objective)(model, image, 1, key)
        np.testing.assert_allclose(value, objective(inside, image, 1, key), rtol=1e-5)
        assert abs(value - objective(model, image, 1, key)) > 1e-4
    grad = jax.grad(lambda x: WithoutNoise()(model, x, 1, key))(image)
    wanted = jax.grad(lambda x: CrossEntropy()(inside, x, 1, key))(image)
    np.testing.assert_allclose(grad, wanted, rtol=1e-4, atol=1e-6)


def test_success_is_asked_of_the_random_network():
    model, _ = random_network()
    image, key = jnp.full(SHAPE, 0.3), jax.random.key(2)
    found = objectives.goal_at(WithoutNoise(samples=4), model, image, 1, key)
    logits = objectives.expected_logits(model, image, key, 4)
    np.testing.assert_allclose(found, objectives.margin(logits, 1))


def test_a_network_that_cannot_do_without_noise_is_refused():
    attack = Ascent(Linf(0.1), WithoutNoise(), steps=1, rel_step_size=1.0)
    for model in (nets.linear(), MODEL):
        with pytest.raises(UsageError, match="objective expectation"):
            attack.objective(model, jnp.zeros(nets.SHAPE), 0, jax.random.key(0))


@pytest.mark.parametrize(
    ("objective", "draws", "noiseless", "passes"),
    [
        (CrossEntropy(), 1, False, (1, 1)),
        (Expectation(samples=4), 4, False, (4, 4)),
        (FixedDraws(Expectation(samples=4)), 4, False, (4, 4)),
        (WithoutNoise(samples=20), 1, True, (21, 1)),
        (Expectation(WithoutNoise(samples=16), samples=4), 4, True, (8, 4)),
        (WithoutNoise(Expectation(samples=8)), 8, True, (24, 8)),
    ],
)
def test_one_count_of_draws_serves_checks_passes_and_tables(
    objective, draws, noiseless, passes
):
    attack = Ascent(Linf(0.1), objective, steps=1, rel_step_size=1.0)
    assert protocols.gradient_draws(objective) == draws
    assert protocols.takes_noise_out(objective) == noiseless
    assert protocols.network_passes(attack) == passes


def test_a_suite_asks_for_a_network_without_noise_before_its_first_attack():
    attack = Ascent(Linf(0.1), WithoutNoise(), steps=1, rel_step_size=1.0)
    planned = [types.SimpleNamespace(label="mean", attack=attack)]
    inputs.check_silent(random_network()[0], planned)
    with pytest.raises(UsageError, match=r"config\.attacks\.mean: .*leave the attack"):
        inputs.check_silent((random_network()[0], nets.linear()), planned)


def test_a_random_network_without_a_key_says_so():
    model, _ = random_network()
    with pytest.raises(UsageError, match="draws random numbers .* give a key"):
        model(jnp.zeros(SHAPE))
