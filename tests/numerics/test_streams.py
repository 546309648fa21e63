"""No key serves two purposes: nowhere in an attack are two draws the same."""

import collections
import itertools

import jax
import numpy as np
import pytest

from jaxadv.attacks import ATTACKS, Ascent, Square
from jaxadv.classifier import Classifier
from jaxadv.craft import base, craft, joint
from jaxadv.defenses.generalized import Generalized
from jaxadv.evaluation.metrics import domains
from jaxadv.numerics import streams
from jaxadv.objectives import Margin, RandomTarget
from jaxadv.objectives.domains import Weighted
from jaxadv.threats import L2, Linf, Masked
from tests import examples, nets

DRAWS = ("normal", "uniform", "bernoulli", "randint", "laplace", "exponential")
LINEAR = nets.linear()
IMAGES, LABELS = nets.batch(2)
STEPS = 3


class Tape:
    """The keys that were drawn from, and those that a network was given.

    Each place of the program that draws is a purpose. A network is another one for
    each key, from which it may draw or which it may divide, as it likes.
    """

    def __init__(self, patch):
        self.users = collections.defaultdict(list)
        self.given = set()
        self._places = itertools.count()
        for name in DRAWS:
            patch.setattr(jax.random, name, self._noted(getattr(jax.random, name)))
        self.model = Classifier.from_function(
            self._network, LINEAR.variables, features=nets._taps
        )

    def _noted(self, draw):
        def noted(key, *args, **kwargs):
            place = next(self._places)
            raw = base.raw_key(key)
            jax.debug.callback(lambda k: self.users[_name(k)].append(place), raw)
            return draw(key, *args, **kwargs)

        return noted

    def _network(self, variables, image, key):
        raw = base.raw_key(key)
        jax.debug.callback(lambda k: self.given.add(_name(k)), raw)
        return nets._linear(variables, image, key)

    def shared(self):
        """The keys that serve several purposes, each with those purposes."""
        jax.effects_barrier()
        users = {key: list(places) for key, places in self.users.items()}
        for key in self.given:
            for part in children(key):
                users.setdefault(part, []).append(("network", key))
        return {key: who for key, who in users.items() if len(who) > 1}


def children(name):
    """The key and the parts into which it may be divided."""
    key = np.array(name, np.uint32)
    return [name, *map(_name, jax.random.split(key, 2 * len(IMAGES) + STEPS))]


def _name(key):
    return tuple(np.asarray(key).tolist())


@pytest.fixture
def tape(monkeypatch):
    # What was traced without the tape would not be noted, and the reverse.
    jax.clear_caches()
    yield Tape(monkeypatch)
    jax.clear_caches()


def objective(name):
    if name == "min_max":
        return Weighted(objective=RandomTarget(), targets="prediction")
    whole = ("carlini_wagner", "elastic_net", "deepfool", "fab", "jsma")
    return Margin(0.0) if name in whole else RandomTarget()


@pytest.mark.parametrize("name", ATTACKS)
def test_no_two_streams_of_an_attack_are_equal(name, tape):
    """In the binding, the start, three steps and the verification."""
    attack = examples.attack(name, examples.threat(examples.threat_for(name)))
    attack = attack.replace(objective=objective(name))
    key = jax.random.key_data(jax.random.key(1))
    image, label = IMAGES[0], LABELS[0]

    @jax.jit
    def begin(model):
        own = base.bound(attack, 0, model, key, image, label)
        return own, own.init(jax.random.fold_in(key, 0), model, image, label)

    step = jax.jit(lambda own, state, model: own.step(state, model, image, label))
    end = jax.jit(lambda own, *rest: base.verified(own, *rest, image, label))
    own, state = begin(tape.model)
    for _ in range(STEPS):
        state = step(own, state, tape.model)
    end(own, state, tape.model)
    shared = tape.shared()
    assert tape.given and not shared, shared


def test_the_regions_of_a_mask_are_drawn_apart(tape):
    threat = Masked(L2(0.5), L2(0.5)).bind(tape.model, IMAGES[0], 0)
    threat.init(jax.random.key_data(jax.random.key(1)), IMAGES[0])
    assert not tape.shared() and len(tape.users) == 4


def test_generalized_training_searches_with_keys_of_its_own(tape):
    attacks = tuple(
        Ascent(threat, steps=STEPS, step_size=0.02, keep="last")
        for threat in (Linf(0.1), examples.threat("stadv"))
    )
    defense = Generalized(attacks, diversity=0.1)
    batch = {"image": IMAGES, "label": LABELS, "id": np.arange(len(IMAGES))}
    start = np.full((len(IMAGES), 2), 0.5, np.float32)
    joint.search(defense, tape.model, jax.random.key(1), batch, start)
    shared = tape.shared()
    assert tape.given and not shared, shared


def test_domains_are_judged_with_other_keys_than_they_are_attacked_with(tape):
    key, objective = jax.random.key(1), Weighted(objective=Margin())
    craft(Square(Linf(0.1), steps=STEPS), tape.model, key, IMAGES, LABELS)
    jax.effects_barrier()
    attacked, tape.given = tape.given, set()
    domains.broken(objective, tape.model, key, IMAGES, LABELS)
    jax.effects_barrier()
    judged = {part for key in tape.given for part in children(key)}
    assert judged and not judged & {p for key in attacked for p in children(key)}


def test_names_are_streams_of_their_own():
    key = jax.random.key(0)
    names = {
        _name(jax.random.key_data(streams.stream(key, n))) for n in streams.NUMBERS
    }
    counts = {_name(k) for k in jax.random.key_data(jax.random.split(key, 1000))}
    assert len(names) == len(streams.NUMBERS) and not names & counts
    assert streams.stream(None, "network") is None
