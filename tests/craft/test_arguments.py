"""What a caller hands to the drivers: refused in one line, never converted."""

import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv import cli, specs
from jaxadv.attacks import Ascent
from jaxadv.classifier import Classifier
from jaxadv.craft import Crafter, craft, craft_batches, craft_traced
from jaxadv.evaluation.judging import inputs
from jaxadv.evaluation.suite import config
from jaxadv.objectives import (
    Expectation,
    LikelyTarget,
    Margin,
    RandomTarget,
    TargetedCrossEntropy,
    TargetedDLR,
    TargetedMargin,
    domains,
    margin,
)
from jaxadv.objectives.domains import Weighted
from jaxadv.specs import UsageError
from jaxadv.threats import L2, Composed, LpipsBall, Masked, Shared
from jaxadv.threats import Linf as LinfBall
from jaxadv.training import settings
from tests import nets

X, Y = nets.batch(6)
M, KEY = nets.linear(seed=3), jax.random.key(0)
PGD = Ascent(LinfBall(0.1), step_size=0.02, steps=5)
GROUPS = Ascent(Shared(LinfBall(0.1)), Weighted(domains.Images()), 2, step_size=0.02)
SICK = jax.tree.map(lambda x: x * np.nan, nets.linear())
GIVEN = {"attack": PGD, "model": M, "key": KEY, "images": X, "labels": Y}


def with_pixel(value):
    images = X.copy()
    images[2, 1, 1, 0] = value
    return {"images": images}


def eps(values):
    return {"per_image": {"threat.eps": np.asarray(values, np.float32)}}


def targeted(objective, **more):
    return {"attack": PGD.replace(objective=objective), **more}


def masked(mask):
    return {"attack": PGD.replace(threat=Masked(LinfBall(0.1), LinfBall(0.0), mask))}


def with_dtype(kind):
    def function(variables, image, key):
        return nets._linear(variables, image, key).astype(kind)

    return {"model": Classifier.from_function(function, M.variables)}


# What their shapes, dtypes and paths tell, under jit as well.
STATIC = {
    "a mask without channels": (
        masked(np.ones((8, 8))),
        r"Masked.mask has shape \(8, 8\), .*give \[h, w, 1\]",
    ),
    "a mask of another size": (masked(np.ones((7, 7, 1))), "Masked.mask has shape"),
    "per_image is a list": ({"per_image": [1]}, "per_image is a list; .* path -> val"),
    "uint8": (
        {"images": np.uint8(X * 255)},
        r"images: .* uint8; .*np.float32\) / 255",
    ),
    "bfloat16": ({"images": jnp.bfloat16(X)}, r"images: .* bfloat16; .* float32"),
    "one image": ({"images": X[0], "labels": Y[0]}, r"images: .* give images\[None\]"),
    "no channels": ({"images": X[..., 0]}, "images: the shape is"),
    "groups": ({"images": X[None]}, "images: .* Linf takes .*: a Shared threat"),
    "no groups": (
        {"attack": GROUPS},
        r"images: .* over Images .*images\[None\]",
    ),
    "labels of a group": (
        {"attack": GROUPS, "images": X.reshape(3, 2, 8, 8, 1)},
        r"labels: the shape is \(6,\); it must be \(3, 2\)",
    ),
    "fractions": ({"labels": Y + 0.5}, "labels: the dtype is float.* whole numbers"),
    "whole floats": ({"labels": np.float32(Y)}, "labels: the dtype is float32"),
    "booleans": ({"labels": Y > 1}, "labels: the dtype is bool"),
    "one-hot": ({"labels": np.eye(4, dtype=int)[Y]}, r"labels: .*labels\.argmax"),
    "columns": ({"labels": Y[:, None]}, r"labels: .* give labels\[\.\.\., 0\]"),
    "three labels": ({"labels": Y[:3]}, r"labels: .*\(3,\).*\(6,\), one for each"),
    "key of an int": ({"key": 0}, r"key is .* jax\.random\.key\(0\)"),
    "keys": ({"key": jax.random.split(KEY, 6)}, "key is .* one key"),
    "three ids": ({"ids": np.arange(3)}, r"ids: .*\(3,\).*\(6,\)"),
    "float ids": ({"ids": np.arange(6.0)}, "ids: float.* whole numbers"),
    "three radii": (eps([0.1] * 3), r"per_image\['threat.eps'\]: .*\(3,\).*\(6,\)"),
    "columns of radii": (eps([[0.1]] * 6), r"per_image\['threat.eps'\]: .*\(6, 1\)"),
    "a typo": ({"per_image": {"threat.esp": Y}}, "'threat.esp' .*mean 'threat.eps'"),
    "a count": ({"per_image": {"steps": Y}}, "unknown field 'steps'"),
    "float targets": (
        targeted(TargetedMargin(1), per_image={"objective.target": np.float32(Y)}),
        "per_image.* dtype is float32; give whole numbers",
    ),
    "a list": ({"model": [M, M]}, "model is a list; an ensemble is a tuple"),
    "an ensemble": ({"model": (M, M)}, r"tuple of 2 .* CrossEntropy .* give Weighted"),
}
# What takes a look at the values.
VALUES = {
    "[-1, 1]": ({"images": 2 * X - 1}, r"images: 6 of 6 .*outside \[0, 1\].*x \+ 1"),
    "255": ({"images": 255 * X}, r"images: .* to 255; scale them: .* x / 255"),
    "NaN": (with_pixel(np.nan), r"images: 1 of 6 .*not finite \(examples 2\)"),
    "inf": (with_pixel(np.inf), r"images: 1 of 6 .*not finite \(examples 2\)"),
    "a bit": (with_pixel(1.001), r"images: 1 of 6 .*examples 2"),
    "label -1": ({"labels": Y * 0 - 1}, "labels: 6 of 6 .*4 classes .*from 0 to 3"),
    "label 4": ({"labels": np.where(Y > 2, 4, Y)}, "labels: .* 4 classes"),
    "two ids": ({"ids": np.array([0, 1, 2, 3, 4, 4])}, "ids: 4 is given 2 times"),
    "NaN weights": (
        {"model": M.replace(variables={**M.variables, "b": jnp.float32([0, np.nan])})},
        "model: 1 of the 2 numbers of b are NaN.*other weights",
    ),
    "NaN weights of a distance": (
        {"attack": PGD.replace(threat=LpipsBall(0.5, network=SICK))},
        "attack.threat.network: 4 of the 4 numbers of b are NaN",
    ),
    "negative ids": ({"ids": np.arange(6) - 1}, "ids: .* from -1 to 4"),
    "negative radii": (eps([0.1, 0.1, -0.1, 0, 0, 0]), "eps is -0.1 at 2; .* >= 0"),
    "infinite radii": (eps([np.inf] * 6), "threat.eps is inf at 0; .* finite"),
    "NaN radii": (eps([np.nan] * 6), "threat.eps is nan at 0"),
    "a mixed ensemble": (
        {
            "attack": PGD.replace(objective=Weighted()),
            "model": (M, nets.linear(classes=3)),
            "labels": Y * 0 + 3,
        },
        "labels: .* 3 classes",
    ),
    "labels of groups": (
        {
            "attack": GROUPS,
            "images": X.reshape(3, 2, 8, 8, 1),
            "labels": Y.reshape(3, 2) + 4,
        },
        "labels: 3 of 3 .* 4 classes",
    ),
    "targets": (
        targeted(TargetedDLR(1), per_image={"objective.target": Y * 0 + 99}),
        r"objective.target: 6 of 6 .* 4 classes .* from 99 to 99",
    ),
}
VALUES |= {
    f"target of {type(part).__name__}": (
        targeted(part),
        r"objective\S*\.target is 99; .* 4 classes",
    )  # fmt: skip
    for part in (
        TargetedMargin(99),
        TargetedDLR(99),
        TargetedCrossEntropy(99),
        Expectation(TargetedMargin(99)),
        Weighted(objective=TargetedDLR(99)),
    )
}
CASES = STATIC | VALUES


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("driver", [craft_batches, craft])
def test_refused(driver, case):
    changed, words = CASES[case]
    with pytest.raises(UsageError, match=words) as error:
        driver(**(GIVEN | changed))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", [jnp.int32, jnp.bool_, jnp.complex64])
def test_logits_are_real_numbers(kind):
    with pytest.raises(UsageError, match="logits are .*; they must be floating-point"):
        craft(**(GIVEN | with_dtype(kind)))


def test_what_is_no_attack_and_no_model_is_named():
    for attack, words in ((M, "a Classifier"), (LinfBall(0.1), "a Linf"), (Ascent, "")):
        with pytest.raises(UsageError, match=f"attack is .*{words}.*; it must be an"):
            craft(attack, M, KEY, X, Y)
    for model in (None, ()):
        with pytest.raises(UsageError, match="give a Classifier, or a tuple of some"):
            craft(PGD, model, KEY, X, Y)
    with pytest.raises(UsageError, match="Ascent.threat is the class Linf; give one"):
        Ascent(LinfBall, step_size=0.1)
    with pytest.raises(UsageError, match="Ascent.threat is 0.1; it must be an object"):
        Ascent(0.1, step_size=0.1)


@pytest.mark.parametrize("value", [0, 2.5, True])
@pytest.mark.parametrize("name", ["batch_size", "chunk_steps"])
def test_counts_of_the_host_loop(name, value):
    with pytest.raises(UsageError, match=f"{name} is {value}; .* whole number >= 1"):
        craft_batches(**GIVEN, **{name: value})


def test_masks_are_zero_or_one():
    with pytest.raises(
        UsageError, match=r"Masked.mask is 0.5 at \(0, 0, 0\); .* 0 or 1"
    ):
        masked(np.full((8, 8, 1), 0.5))
    values = np.full((6, 8, 8, 1), 0.5, np.float32)
    with pytest.raises(UsageError, match="threat.mask is 0.5 at .*; it must be 0 or 1"):
        craft(**(GIVEN | masked(None)), per_image={"threat.mask": values})


def test_values_beyond_one_by_rounding_are_to_be_clipped():
    images = np.where(X == 1, np.float32(1 + 2e-7), X)
    with pytest.raises(UsageError, match=r"by rounding .*1.0000002.*images.clip\(0, 1"):
        craft(**(GIVEN | {"images": images}))


@pytest.mark.parametrize("case", STATIC)
def test_shapes_and_dtypes_are_refused_under_jit(case):
    changed, words = STATIC[case]
    given = GIVEN | changed
    model = given.pop("model")
    with pytest.raises(UsageError, match=words):
        jax.jit(functools.partial(craft, model=model)).eval_shape(**given)


@pytest.mark.parametrize("case", ["one-hot", "label -1", "[-1, 1]", "key of an int"])
def test_craft_traced_refuses_the_same(case):
    from jaxadv.attacks import MinMax

    changed, words = CASES[case]
    attack = {"attack": MinMax(LinfBall(0.1), steps=2), "model": (M, M)}
    with pytest.raises(UsageError, match=words):
        craft_traced(**(GIVEN | attack | changed))


def test_float64_is_not_rounded_silently():
    with pytest.raises(UsageError, match="images: .* float64; .*np.float32"):
        craft_batches(**(GIVEN | {"images": X.astype(float)}))


def test_images_that_do_not_fit_the_network():
    with pytest.raises(UsageError, match=r"images of shape \(8, 8, 3\) do not fit"):
        craft_batches(**(GIVEN | {"images": np.repeat(X, 3, -1)}))


@pytest.mark.parametrize("changed", [
    {"labels": Y.astype(np.int64)},
    {"labels": np.uint8(Y), "ids": [0, 1, 2, 3, 4, 5]},
    {"key": jax.random.PRNGKey(0), "images": jnp.asarray(X)},
    {"key": np.asarray(jax.random.PRNGKey(0)), "labels": [int(y) for y in Y]},
    {"per_image": {"threat.eps": np.full(6, 0.1)}},
])  # fmt: skip
def test_what_loses_nothing_is_taken(changed):
    """Each in the program of the same few shapes, with the same result."""
    given = {"batch_size": 1, "crafter": CRAFTER}
    attack = {"attack": PGD.replace(steps=1)}
    found = craft_batches(**(GIVEN | attack | changed), **given)
    want = craft_batches(**(GIVEN | attack), **given)
    np.testing.assert_array_equal(found.image, want.image)


CRAFTER = Crafter()


def test_debug_looks_at_traced_values():
    one = PGD.replace(steps=1, objective=TargetedMargin(1))
    run = jax.jit(functools.partial(craft, debug=True))
    arguments = one, M, KEY, X, Y * 0
    assert run(*arguments).success.shape == (6,)
    jax.effects_barrier()
    bad = {
        "images: 1 of 6": (one, M, KEY, with_pixel(np.nan)["images"], Y * 0),
        "labels: 6 of 6": (one, M, KEY, X, Y * 0 + 4),
        "objective.target is 99": (
            one.replace(objective=TargetedMargin(99)),
            M,
            KEY,
            X,
            Y * 0,
        ),  # fmt: skip
    }
    for words, given in bad.items():
        with pytest.raises(jax.errors.JaxRuntimeError, match=words):
            jax.block_until_ready(run(*given))
            jax.effects_barrier()
    assert "callback" not in str(jax.make_jaxpr(craft)(*arguments))


@pytest.mark.parametrize("kind", [TargetedMargin, TargetedDLR, TargetedCrossEntropy])
def test_a_target_is_a_class(kind):
    with pytest.raises(UsageError, match="target is 4; .* give indices from 0 to 3"):
        kind(4)(M, X[0], 0)
    with pytest.raises(UsageError, match=r"has shape \(3,\).*as per_image=.*target'"):
        kind(np.array([1, 2, 3]))
    for wrong in (1.5, "1", True, None):
        with pytest.raises(UsageError, match=r"\.target is .* whole number"):
            kind(wrong)


@pytest.mark.parametrize("label", range(4))
def test_drawn_targets_are_other_classes(label):
    keys = jax.random.split(KEY, 20)
    drawn = jax.vmap(lambda k: RandomTarget().bind(M, X[0], label, k).target)(keys)
    likely = [
        LikelyTarget().restarted(r).bind(M, X[0], label).target for r in range(20)
    ]
    for targets in (np.asarray(drawn), np.asarray(likely)):
        assert set(targets) == set(range(4)) - {label}


def test_a_target_that_is_the_label_is_said():
    given = GIVEN | {"labels": np.array([0, 1, 2, 3, 1, 2])}
    one = targeted(TargetedMargin(1))["attack"].replace(steps=1)
    with pytest.warns(specs.UsageWarning, match=r"2 of 6 images \(examples 1, 4\)"):
        craft_batches(**(given | {"attack": one}), batch_size=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        craft_batches(
            **(given | {"attack": one}), batch_size=1,
            per_image={"objective.target": np.array([1, 2, 3, 0, 0, 0])},
        )  # fmt: skip


BALLS = {
    "threat.eps is 8, .* 8 / 255 is 0.03137": LinfBall(8.0),
    "threat.threat.eps is 8": Shared(LinfBall(8.0)),
    r"threat.background.eps is 16": Masked(L2(2.0), LinfBall(16.0)),
    "threat.parts.eps is 4": Composed((L2(1.0), LinfBall(4.0))),
}


@pytest.mark.parametrize("words", BALLS)
def test_a_forgotten_division_by_255_is_one_warning(words):
    spec = {"name": "pgd", "threat": {"name": "linf", "eps": 8.0}, "step_size": 2.0}
    arguments = GIVEN | {"attack": PGD.replace(threat=BALLS[words], steps=1)}
    if "threat.threat" in words:
        arguments |= {"attack": GROUPS.replace(threat=BALLS[words])}
        arguments |= {"images": X[None], "labels": Y[None]}
    with pytest.warns(specs.UsageWarning, match=words) as told:
        craft_batches(**arguments, batch_size=1)
    assert len(told) == 1
    with pytest.warns(specs.UsageWarning, match=r"config.attacks.a.threat.eps is 8"):
        config.resolve({"attacks": {"a": spec, "b": spec}})
    training = settings.default_config()
    with training.unlocked():
        training.attack = spec
        training.defense = {"name": "adversarial"}
    with pytest.warns(specs.UsageWarning, match=r"config.attack.threat.eps is 8"):
        settings.plan(settings.complete(training))


def test_large_budgets_of_other_units_and_the_whole_box_are_not_warned_of():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for threat in (L2(8.0), LinfBall(1.0), LpipsBall(2.0)):
            config.warn_units({"": PGD.replace(threat=threat)})
        jax.jit(craft).eval_shape(PGD.replace(threat=LinfBall(8.0)), M, KEY, X, Y)


def test_flags_tell_a_warning_in_one_line(monkeypatch):
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    cli._shorten_warnings()
    cli._shorten_warnings()
    place = "a.py", 3, "code()"
    told = warnings.formatwarning("eps is 8", specs.UsageWarning, *place)
    assert told == "warning: eps is 8\n"
    assert "a.py:3" in warnings.formatwarning("x", UserWarning, *place)


class Source:
    def __init__(self, image, label):
        self.rows = {"image": image, "label": label}

    def get(self, ids):
        return {name: column[ids] for name, column in self.rows.items()}


def test_a_data_set_is_not_converted_either():
    ids = np.arange(6)
    assert inputs.read(Source(np.uint8(255 * X), Y), ids)["image"].max() == 1
    for image, label, words in (
        (X.astype(float), Y, "data: the dtype is float64"),
        (np.int32(X), Y, "data: the dtype is int32"),
        (X, np.float32(Y), "data: labels: the dtype is float32"),
        (X, Y[:, None], r"data: labels: the shape is \(6, 1\)"),
    ):
        with pytest.raises(UsageError, match=words):
            inputs.read(Source(image, label), ids)


def test_labels_of_the_oracle_are_what_the_drivers_judge():
    """The margin of `craft_batches` is that of the label given, whatever its dtype."""
    given = GIVEN | {"attack": PGD.replace(steps=1), "labels": np.uint8(Y)}
    found = craft_batches(**given, batch_size=1, crafter=CRAFTER)
    want = [margin(M(x), y) for x, y in zip(found.image, Y, strict=True)]
    np.testing.assert_allclose(found.margin, want, rtol=1e-4, atol=1e-4)
    assert Margin()(M, X[0], 0) == margin(M(X[0]), 0)
