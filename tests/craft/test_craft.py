"""Both drivers: invariance, compilation counts, leaks, journal and restarts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv import parallel
from jaxadv.attacks import Ascent
from jaxadv.craft import Adversarial, Crafter, craft, craft_batches, worst
from jaxadv.craft.journal import Journal
from jaxadv.objectives import KL, CrossEntropy, RandomTarget, domains, margin
from jaxadv.threats import L2, Linf
from tests import nets

KEY = jax.random.key(7)
PGD = Ascent(Linf(0.05), steps=4, rel_step_size=0.4, restarts=2, early_stop=True)
MODEL = nets.conv(seed=3)
IMAGES, _ = nets.batch(45)
LABELS = nets.predicted(MODEL, IMAGES)
SHARED = Crafter()
COMPILED = []
jitted = jax.jit(craft)
jax.monitoring.register_event_duration_secs_listener(
    lambda event, *_, **__: COMPILED.extend([event] * ("backend_compile" in event))
)


def run(index=slice(None), attack=PGD, crafter=SHARED, **kwargs):
    kwargs = {"batch_size": 2, "chunk_steps": 2, "crafter": crafter, **kwargs}
    ids = np.arange(len(IMAGES))[index]
    return craft_batches(
        attack, MODEL, KEY, IMAGES[index], LABELS[index], ids=ids, **kwargs
    )


def same(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.fixture(scope="module")
def whole():
    found = run()
    assert 0.1 < found.success.mean() < 0.95
    return found


def taken(found, index):
    return jax.tree.map(lambda x: x[index], found)


def test_order_and_batch_mates_do_not_matter(whole):
    order = np.random.default_rng(0).permutation(len(IMAGES))
    same(run(order), taken(whole, order))
    same(run(slice(3, 10)), taken(whole, slice(3, 10)))


def test_the_number_of_devices_does_not_matter(whole, monkeypatch):
    for count in (1, 2):
        devices = jax.local_devices()[:count]
        monkeypatch.setattr(jax, "local_devices", lambda d=devices: d)
        monkeypatch.setattr(jax, "local_device_count", lambda d=devices: len(d))
        same(run(crafter=Crafter()), whole)


def test_the_chunk_does_not_matter(whole):
    same(run(chunk_steps=4, crafter=Crafter()), whole)


@pytest.mark.parametrize("batch_size", [1, 7])
def test_other_batch_shapes_agree_within_rounding(whole, batch_size):
    other = run(batch_size=batch_size, crafter=Crafter())
    assert np.mean(other.success == whole.success) > 0.97
    assert np.mean(np.abs(other.image - whole.image)) < 1e-3


def test_agrees_with_the_compiled_driver(whole):
    found = jitted(PGD, MODEL, KEY, IMAGES, LABELS)
    assert np.mean(np.asarray(found.success) == whole.success) > 0.97
    assert np.mean(np.abs(np.asarray(found.image) - whole.image)) < 1e-3


def test_under_jit_an_image_is_independent_of_its_batch_mates():
    ids = jnp.arange(8)
    first = jitted(PGD, MODEL, KEY, IMAGES[:8], LABELS[:8], ids=ids)
    other = np.concatenate([IMAGES[:1], IMAGES[20:27]])
    labels = np.concatenate([LABELS[:1], LABELS[20:27]])
    same(taken(jitted(PGD, MODEL, KEY, other, labels, ids=ids), 0), taken(first, 0))


def test_a_sweep_with_a_ragged_last_batch_compiles_once():
    crafter, before = Crafter(), len(COMPILED)
    run(slice(0, 13), PGD.replace(threat=Linf(0.02)), crafter)
    assert len(COMPILED) > before
    before = len(COMPILED)
    for eps in (0.0, 0.01, 0.03, 0.05, 0.2):
        run(slice(0, 13), PGD.replace(threat=Linf(eps)), crafter)
        run(slice(0, 16), PGD.replace(threat=Linf(eps)), crafter)
    assert len(COMPILED) == before


def test_under_jit_a_sweep_compiles_once():
    jitted(PGD, MODEL, KEY, IMAGES[:8], LABELS[:8])
    before = len(COMPILED)
    for eps in (0.0, 0.01, 0.03, 0.05, 0.2):
        attack = PGD.replace(threat=Linf(eps), rel_step_size=0.1 + eps)
        jitted(attack, MODEL, KEY, IMAGES[:8], LABELS[:8])
    assert len(COMPILED) == before


def test_a_resumed_run_redoes_nothing_and_is_identical(whole, tmp_path):
    class Killed(Exception):
        pass

    done = []

    def kill_late(count):
        done.append(count)
        if sum(done) > 20:
            raise Killed

    journal = Journal(tmp_path / "j", every_seconds=0.0)
    with pytest.raises(Killed):
        run(journal=journal, progress=kill_late)
    (tmp_path / "j" / "000-1.tmp").write_bytes(b"half a shard")
    resumed, steps = [], []
    again = run(journal=Journal(tmp_path / "j"), progress=resumed.append)
    same(again, whole)
    assert resumed[0] >= 20 and sum(resumed) == len(IMAGES)
    assert not list((tmp_path / "j").glob("*.tmp"))
    third = run(journal=Journal(tmp_path / "j"), progress=steps.append)
    same(third, whole)
    assert steps[0] == len(IMAGES)


def test_attack_changes_no_batch_statistics():
    before = jax.tree.map(np.array, MODEL.variables)
    run(slice(0, 8))
    same(before, jax.tree.map(np.array, MODEL.variables))


def test_fields_may_differ_by_image():
    radii = np.linspace(0, 0.2, 12).astype(np.float32)
    fields = {"threat.eps": radii}
    attack = Ascent(Linf(1.0), steps=3, rel_step_size=0.5)
    host = craft_batches(
        attack, MODEL, KEY, IMAGES[:12], LABELS[:12], per_image=fields, batch_size=2
    )
    compiled = jitted(attack, MODEL, KEY, IMAGES[:12], LABELS[:12], per_image=fields)
    for found in (host, compiled):
        assert np.all(found.size <= radii * (1 + 1e-6)) and found.size[-1] > 0.19
    single = jitted(
        attack.replace(threat=Linf(radii[5])), MODEL, KEY, IMAGES[:12], LABELS[:12]
    )
    assert np.allclose(single.image[5], compiled.image[5], atol=1e-6)


def test_an_objective_of_the_clean_image_is_bound():
    attack = Ascent(L2(0.5), KL(), steps=4, rel_step_size=0.4, keep="last")
    found = jitted(attack, MODEL, KEY, IMAGES[:8], LABELS[:8])

    def divergence(image, perturbed):
        return KL(MODEL(image))(MODEL, perturbed, 0)

    assert np.all(jax.vmap(divergence)(IMAGES[:8], found.image) > 0)
    host = craft_batches(attack, MODEL, KEY, IMAGES[:8], LABELS[:8], batch_size=1)
    assert np.allclose(host.image, found.image, atol=1e-3)


@pytest.mark.parametrize("count", [1, 2])
def test_success_is_verified_in_float32(count):
    models = tuple(nets.half(seed) for seed in range(count))
    objective = domains.Weighted() if count > 1 else CrossEntropy()
    attack = Ascent(Linf(0.02), objective, steps=1, rel_step_size=1.0)
    given = models if count > 1 else models[0]
    found = jitted(attack, given, KEY, IMAGES[:8], LABELS[:8])

    def margins(networks):
        looks = [[margin(m(x), y) for m in networks]
                 for x, y in zip(found.image, LABELS, strict=False)]  # fmt: skip
        return np.min(looks, axis=1)

    assert np.abs(margins(models) - found.margin).max() > 1e-4
    exact = [model.full_precision() for model in models]
    np.testing.assert_allclose(margins(exact), found.margin, atol=1e-6)
    host = craft_batches(attack, given, KEY, IMAGES[:2], LABELS[:2], batch_size=1)
    np.testing.assert_allclose(host.margin, found.margin[:2], atol=1e-3)


def test_the_forward_pass_of_the_goal_is_free():
    """A step with the best point so far costs a bare gradient, in operations.

    They are those of one step and of the verification: a loop's are counted once.
    """
    images, labels = IMAGES[:4], LABELS[:4]

    def bare(model, images, labels):
        def loss(x, y):
            return CrossEntropy()(model, x, y)

        return jax.vmap(jax.grad(loss))(images, labels)

    def flops(function, *args):
        return jax.jit(function).lower(*args).compile().cost_analysis()["flops"]

    attack = Ascent(Linf(0.1), steps=10, rel_step_size=0.2)
    ours = flops(craft, attack, MODEL, KEY, images, labels)
    last = flops(craft, attack.replace(keep="last"), MODEL, KEY, images, labels)
    assert last > 1.2 * flops(bare, MODEL, images, labels)
    assert ours < 1.1 * last


def test_inside_pmap_it_agrees_with_jit():
    devices = jax.local_device_count()
    rows = jax.tree.map(lambda x: x[: 2 * devices], (IMAGES, LABELS))
    ids = np.arange(2 * devices)

    def attack(model, key, images, labels, ids):
        return craft(PGD, model, key, images, labels, ids=ids)

    mapped = parallel.mapped_rows(attack, whole=2)
    found = parallel.unshard(
        mapped(
            *parallel.replicate((MODEL, jax.random.key_data(KEY))),
            *parallel.shard((*rows, ids)),
        )
    )
    same(found.success, jitted(PGD, MODEL, KEY, *rows, ids=ids).success)


def row(success, margin, size=0.0, steps=1):
    return Adversarial(
        np.zeros((1, 2, 2, 1)) + size,
        np.array([success]),
        np.array([margin], np.float32),
        np.array([size]),
        np.array([steps]),
    )


@pytest.mark.parametrize("flip", [False, True])
def test_worst_prefers_success_then_margin(flip):
    pairs = [
        (row(True, 0.1, 1.0), row(False, -0.1, 2.0)),
        (row(True, 0.5, 1.0), row(True, 0.1, 2.0)),
        (row(False, -0.1, 1.0), row(False, -0.4, 2.0)),
        (row(False, np.nan, 1.0), row(False, -0.4, 2.0)),
    ]
    for winner, loser in pairs:
        merged = worst(loser, winner) if flip else worst(winner, loser)
        assert merged.size == 1.0 and np.all(merged.image == 1.0)
        assert merged.steps_used == 2
        traced = jax.tree.map(jnp.asarray, (winner, loser))
        assert worst(*traced).size == 1.0


def test_nothing_to_do():
    found = run(slice(0, 0))
    assert found.success.shape == (0,)


def test_random_targets_are_drawn_for_each_example_and_restart():
    """The same image under forty ids goes to all three wrong classes."""
    model = nets.linear()
    images = np.repeat(nets.batch(1)[0], 40, axis=0)
    label = int(nets.predicted(model, images[:1])[0])
    labels = np.full(40, label)
    shares = {}
    for restarts in (1, 4):
        attack = Ascent(
            Linf(0.5), RandomTarget(), steps=5, rel_step_size=0.4, restarts=restarts
        )
        found = jitted(attack, model, KEY, images, labels)
        hit = nets.predicted(model, found.image)
        assert found.success.all()
        shares[restarts] = np.bincount(hit, minlength=nets.CLASSES) / 40
    assert (np.delete(shares[1], label) > 0.1).all()
    again = craft_batches(
        attack, model, KEY, images, labels, batch_size=2, chunk_steps=5
    )
    np.testing.assert_allclose(again.image, found.image, atol=1e-6)
