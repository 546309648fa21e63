"""Networks of linen, nnx, equinox and torch: what they give is what we attack."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx

from jaxadv import torch_adapter
from jaxadv.attacks import Ascent
from jaxadv.classifier import Classifier
from jaxadv.craft import craft, craft_batches
from jaxadv.specs import UsageError
from jaxadv.threats import Linf

SHAPE, CLASSES = (8, 8, 3), 5
X = np.random.default_rng(0).uniform(size=(6, *SHAPE)).astype(np.float32)
Y = np.array([0, 1, 2, 3, 4, 0])
MEAN, STD = (0.4, 0.5, 0.6), (0.3, 0.2, 0.25)
Z = (X - np.float32(MEAN)) / np.float32(STD)


def same(model, logits, gradient, atol=1e-5):
    """The model's logits and gradients of the label's logit are these."""
    found = jax.jit(jax.vmap(model))(X)
    np.testing.assert_allclose(found, logits, atol=atol)
    of = jax.vmap(jax.grad(lambda image, label: model(image)[label]))
    np.testing.assert_allclose(jax.jit(of)(X, Y), gradient, atol=10 * atol)


def attacked(model):
    """PGD lowers the margin, in the same way in both drivers."""
    attack = Ascent(Linf(0.05), steps=3, rel_step_size=0.5)
    key = jax.random.key(0)
    clean = np.take_along_axis(np.asarray(jax.vmap(model)(X)), Y[:, None], 1)
    found = jax.jit(craft)(attack, model, key, X, Y)
    again = craft_batches(attack, model, key, X, Y, batch_size=6)
    np.testing.assert_allclose(found.image, again.image, atol=1e-5)
    after = np.take_along_axis(np.asarray(jax.vmap(model)(found.image)), Y[:, None], 1)
    assert np.mean(after) < np.mean(clean)


def gradients(function):
    """d logit of the label / d image, of a function of the normalized batch."""

    def total(images):
        logits = function((images - jnp.array(MEAN)) / jnp.array(STD))
        return jnp.sum(jnp.take_along_axis(logits, Y[:, None], 1))

    return jax.grad(total)(jnp.asarray(X))


class Cnn(nn.Module):
    """As in flax's examples; `flag` is the argument that tells training."""

    flag: str = "training"

    @nn.compact
    def __call__(self, x, training: bool = True):
        x = nn.relu(nn.Conv(4, (3, 3))(x))
        x = nn.BatchNorm(use_running_average=not training)(x)
        x = nn.avg_pool(x, (2, 2), strides=(2, 2))
        x = nn.Dropout(0.5, deterministic=not training)(x)
        return nn.Dense(CLASSES)(x.reshape(x.shape[0], -1))


class Deterministic(nn.Module):
    @nn.compact
    def __call__(self, x, deterministic: bool = False):
        x = nn.Dropout(0.5, deterministic=deterministic)(x.reshape(x.shape[0], -1))
        return nn.Dense(CLASSES)(x)


class Plain(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(CLASSES)(x.reshape(x.shape[0], -1))


class Single(nn.Module):
    @nn.compact
    def __call__(self, image):
        return nn.Dense(CLASSES)(image.reshape(-1))


class Restless(nn.Module):
    @nn.compact
    def __call__(self, x, mode: str = "train"):
        x = nn.BatchNorm(use_running_average=mode != "train")(x)
        return nn.Dense(CLASSES)(x.reshape(x.shape[0], -1))


def variables(module, one=False):
    key = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    return module.init(key, Z[0] if one else Z)


@pytest.mark.parametrize(
    "module, arguments",
    [
        (Cnn(), {"training": False}),
        (Deterministic(), {"deterministic": True}),
        (Plain(), {}),
    ],
    ids=["training", "deterministic", "no argument"],
)
def test_linen_runs_in_evaluation_mode_whatever_that_is_called(module, arguments):
    weights = variables(module)
    model = Classifier.from_linen(module, weights, MEAN, STD)

    def function(x):
        return module.apply(weights, x, **arguments)

    same(model, function(Z), gradients(function))
    attacked(model)


def test_linen_modules_of_one_image():
    module = Single()
    weights = variables(module, one=True)
    model = Classifier.from_linen(module, weights, MEAN, STD, batched=False)
    function = jax.vmap(lambda x: module.apply(weights, x))
    same(model, function(Z), gradients(function))


def test_linen_arguments_of_another_name_are_given():
    module = Restless()
    weights = variables(module)
    with pytest.raises(UsageError, match="changes its variables .* give evaluation="):
        Classifier.from_linen(module, weights)(X[0])
    model = Classifier.from_linen(module, weights, evaluation={"mode": "eval"})
    assert model(X[0]).shape == (CLASSES,)
    with pytest.raises(
        UsageError, match="Restless takes no argument 'training'; .* x, mode"
    ):
        Classifier.from_linen(module, weights, evaluation={"training": False})
    with pytest.raises(UsageError, match="evaluation is 'mode'; give"):
        Classifier.from_linen(module, weights, evaluation="mode")
    with pytest.raises(UsageError, match="the module is the class Restless"):
        Classifier.from_linen(Restless, weights)


def test_functions_of_batches():
    w = np.random.default_rng(1).normal(size=(SHAPE[0] * SHAPE[1] * 3, CLASSES))
    w = jnp.asarray(w, jnp.float32)

    def function(w, x, key):
        return x.reshape(x.shape[0], -1) @ w

    def features(w, x, key):
        return (x, 2 * x)

    model = Classifier.from_function(
        function, w, MEAN, STD, features=features, batched=True
    )
    logits = Z.reshape(len(Z), -1) @ w
    same(model, logits, gradients(lambda x: function(w, x, None)), atol=1e-4)
    assert [tap.shape for tap in model.features(X[0])] == [SHAPE, SHAPE]


class NnxCnn(nnx.Module):
    """As in the tutorial on MNIST, with batch norm."""

    def __init__(self, rngs):
        self.conv = nnx.Conv(3, 4, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.dense = nnx.Linear(64, CLASSES, rngs=rngs)

    def __call__(self, x):
        x = nnx.relu(self.norm(self.conv(x)))
        x = nnx.avg_pool(x, (2, 2), strides=(2, 2))
        return self.dense(self.dropout(x.reshape(x.shape[0], -1)))


def test_nnx_runs_in_evaluation_mode_and_is_left_alone():
    module = NnxCnn(nnx.Rngs(0))
    for _ in range(3):
        module(Z)  # running averages that are not the defaults
    mean = np.array(module.norm.mean[...])
    model = Classifier.from_nnx(module, MEAN, STD)
    assert not module.dropout.deterministic  # the caller's goes on training
    exact = nnx.clone(module)
    exact.eval()
    same(model, exact(Z), gradients(lambda x: nnx.clone(exact)(x)))
    attacked(model)
    np.testing.assert_array_equal(module.norm.mean[...], mean)
    with pytest.raises(UsageError, match="from_nnx: the model is a Plain"):
        Classifier.from_nnx(Plain())


class WithArguments(nnx.Module):
    def __init__(self, rngs):
        self.dropout = nnx.Dropout(0.5)
        self.dense = nnx.Linear(192, CLASSES, rngs=rngs)

    def __call__(self, x, rngs, train: bool = True):
        x = x.reshape(x.shape[0], -1)
        return self.dense(self.dropout(x, rngs=rngs) if train else 2 * x)


class Pair(NnxCnn):
    def __call__(self, x):
        return super().__call__(x), x


def test_nnx_calls_with_arguments_and_pairs():
    module = WithArguments(nnx.Rngs(0))
    model = Classifier.from_nnx(module, MEAN, STD)
    exact = module.dense(2 * Z.reshape(len(Z), -1))
    np.testing.assert_allclose(jax.vmap(model)(X), exact, atol=1e-4)
    model = Classifier.from_nnx(
        module, MEAN, STD, evaluation={"rngs": None, "train": True}
    )
    np.testing.assert_allclose(jax.vmap(model)(X), module.dense(
        Z.reshape(len(Z), -1)
    ), atol=1e-4)  # fmt: skip
    with pytest.raises(UsageError, match="takes no argument 'mode'; it takes x, rngs"):
        Classifier.from_nnx(module, evaluation={"mode": 1})
    with pytest.raises(UsageError, match="the network returns a tuple"):
        Classifier.from_nnx(Pair(nnx.Rngs(0)))(X[0])


def test_missing_variables_of_linen_are_named():
    params = {"params": variables(Cnn())["params"]}
    with pytest.raises(UsageError, match="misses some of its variables .* init return"):
        Classifier.from_linen(Cnn(), params)(X[0])


def test_networks_of_one_structure_share_a_program():
    traced = []

    @jax.jit
    def logits(model, image):
        traced.append(1)
        return model(image)

    for seed in range(3):
        logits(Classifier.from_nnx(NnxCnn(nnx.Rngs(seed))), X[0])
    assert len(traced) == 1


def test_equinox_networks():
    eqx = pytest.importorskip("equinox")

    class Net(eqx.Module):
        conv: eqx.nn.Conv2d
        norm: eqx.nn.BatchNorm
        dropout: eqx.nn.Dropout
        dense: eqx.nn.Linear

        def __init__(self, key):
            first, second = jax.random.split(key)
            self.conv = eqx.nn.Conv2d(3, 4, 3, padding=1, key=first)
            self.norm = eqx.nn.BatchNorm(4, axis_name="batch", mode="batch")
            self.dropout = eqx.nn.Dropout(0.5)
            self.dense = eqx.nn.Linear(256, CLASSES, key=second)

        def __call__(self, x, state):
            x, state = self.norm(self.conv(x), state)
            return self.dense(self.dropout(jax.nn.relu(x).reshape(-1))), state

    net, state = eqx.nn.make_with_state(Net)(jax.random.key(0))
    model = Classifier.from_equinox(net, state, MEAN, STD)
    exact = eqx.nn.inference_mode(net)

    def function(x):
        return jax.vmap(lambda one: exact(jnp.moveaxis(one, -1, 0), state)[0])(x)

    same(model, function(jnp.asarray(Z)), gradients(function))
    attacked(model)
    mlp = eqx.nn.Sequential(
        [eqx.nn.Lambda(jnp.ravel), eqx.nn.Linear(192, CLASSES, key=jax.random.key(1))]
    )
    model = Classifier.from_equinox(mlp, None, MEAN, STD, layout="hwc")
    same(model, jax.vmap(mlp)(jnp.asarray(Z)), gradients(jax.vmap(mlp)))
    with pytest.raises(UsageError, match="layout is 'nchw'; allowed: hwc, chw"):
        Classifier.from_equinox(mlp, layout="nchw")
    with pytest.raises(UsageError, match="an image and a state; give its state too"):
        Classifier.from_equinox(net)
    with pytest.raises(UsageError, match="an image alone; leave the state out"):
        Classifier.from_equinox(eqx.nn.MLP(4, 2, 3, 1, key=jax.random.key(0)), state)

    def stack(key):
        norm = eqx.nn.BatchNorm(3, axis_name="batch", mode="batch")
        dense = eqx.nn.Linear(192, CLASSES, key=key)
        return eqx.nn.Sequential([norm, eqx.nn.Lambda(jnp.ravel), dense])

    # A state that the call takes, and could do without.
    model = Classifier.from_equinox(*eqx.nn.make_with_state(stack)(jax.random.key(2)))
    assert model(X[0]).shape == (CLASSES,)
    with pytest.raises(UsageError, match="from_equinox: the model is a Plain"):
        Classifier.from_equinox(Plain())


def test_torch_networks():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, padding=1),
        torch.nn.BatchNorm2d(4),
        torch.nn.ReLU(),
        torch.nn.AvgPool2d(2),
        torch.nn.Dropout(0.5),
        torch.nn.Flatten(),
        torch.nn.Linear(64, CLASSES),
    )
    module(torch.from_numpy(Z).permute(0, 3, 1, 2))
    with pytest.raises(UsageError, match="training mode; give module.eval"):
        Classifier.from_torch(module)
    calls = []
    module.eval().register_forward_hook(lambda *_: calls.append(1))
    model = Classifier.from_torch(module, MEAN, STD)
    given = torch.from_numpy(X).requires_grad_(True)
    exact = module(
        ((given - torch.tensor(MEAN)) / torch.tensor(STD)).permute(0, 3, 1, 2)
    )
    (grad,) = torch.autograd.grad(exact[range(6), Y].sum(), given)
    same(model, exact.detach().numpy(), grad.numpy())
    calls.clear()
    jax.block_until_ready(jax.jit(jax.vmap(model))(X))
    assert len(calls) <= 2  # the shape of the logits, and one batch
    attacked(model)
    module[4].train()
    with pytest.raises(UsageError, match="its part 4 is in training mode"):
        Classifier.from_torch(module)
    with pytest.raises(Exception, match="its part 4 is in training mode"):
        model(X[0])
    with torch.no_grad():
        module.eval()[0].bias[1] = float("nan")
    with pytest.raises(UsageError, match="1 of the 4 numbers of 0.bias are NaN"):
        Classifier.from_torch(module)
    with pytest.raises(UsageError, match="from_torch: the model is a Plain"):
        Classifier.from_torch(Plain())


def test_libraries_that_are_not_there_are_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    with pytest.raises(UsageError, match="torch.*; pip install torch"):
        torch_adapter.of_torch(object())
