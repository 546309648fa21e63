"""Schedules, optimizers, the step on several devices, and the loop."""

import json
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxadv import checkpoints, parallel, struct
from jaxadv.attacks.gradient.ascent import Ascent
from jaxadv.attacks.gradient.fgsm import Fgsm
from jaxadv.data import sources
from jaxadv.defenses import Adversarial, Clean
from jaxadv.defenses.base import Network
from jaxadv.files import locks
from jaxadv.specs import UsageError
from jaxadv.threats.lp import Linf
from jaxadv.training import log, loop, settings, validation
from jaxadv.training import state as train_state
from jaxadv.training.optim import Optimizer, Schedule
from jaxadv.training.validation import Validator
from tests.training.small import CLASSES, SHAPE, Small, small_source


def make_state(module=None, defense=None, optimizer=None, averaged=False):
    optimizer = optimizer or Optimizer(learning_rate=0.1).make(0.1)
    return train_state.create_state(
        Network(module or Small()),
        defense or Clean(),
        optimizer,
        seed=0,
        image_shape=SHAPE,
        examples=100,
        averaged=averaged,
    )


def make_batch(n=16, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "image": rng.integers(0, 256, (n, *SHAPE)).astype(np.uint8),
        "label": rng.integers(0, CLASSES, n).astype(np.int32),
        "id": rng.permutation(100)[:n].astype(np.int32),
    }


def on_devices(step, count):
    """`step` by pmap on the first `count` devices, for host state and batch."""
    run = jax.pmap(
        step,
        axis_name=parallel.AXIS,
        in_axes=(None, 0, None),
        out_axes=None,
        devices=jax.devices()[:count],
    )

    def call(state, batch, defense):
        batch = {k: v.reshape(count, -1, *v.shape[1:]) for k, v in batch.items()}
        return jax.device_get(run(state, batch, defense))

    return call


def close(a, b, tolerance):
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance),
        a,
        b,
    )


# Schedules ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields, expected",
    [
        ({"kind": "constant"}, lambda t: 2.0),
        (
            {"kind": "steps", "drop_epochs": (2, 5), "drop_factor": 0.1},
            lambda t: 2.0 * 0.1 ** ((t >= 2) + (t >= 5)),
        ),
        ({"kind": "cosine"}, lambda t: 1 + np.cos(np.pi * t / 8)),
        ({"kind": "cyclic", "peak": 0.25}, lambda t: min(t, (8 - t) / 3)),
        (
            {"kind": "constant", "warmup_epochs": 2},
            lambda t: 2.0 * min(1, (t + 0.25) / 2),
        ),
        (
            {"kind": "cosine", "warmup_epochs": 2},
            lambda t: (
                min(1, (t + 0.25) / 2)
                * (2.0 if t < 2 else 1 + np.cos(np.pi * (t - 2) / 6))
            ),
        ),
    ],
)
def test_schedules_are_their_closed_forms(fields, expected):
    rate = Schedule(**fields).make(2.0, epochs=8, steps_per_epoch=4)
    found = [float(rate(step)) for step in range(32)]
    wanted = [expected(step / 4) for step in range(32)]
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    traced = jax.jit(jax.vmap(lambda s: rate(s) * jnp.ones(())))(jnp.arange(32))
    np.testing.assert_allclose(traced, wanted, rtol=1e-5, atol=1e-6)


# Optimizers -----------------------------------------------------------------------


def trajectory(fields, grads, rate=0.1):
    """The parameters after each of the gradients (of all of them alike)."""
    transform = Optimizer(**fields).make(rate)
    params = {"kernel": jnp.full((1, 1), 2.0), "bias": jnp.full((1,), 2.0)}
    state, found = transform.init(params), []
    for grad in grads:
        grad = jax.tree.map(lambda p, g=grad: jnp.full_like(p, g), params)
        updates, state = transform.update(grad, state, params)
        params = jax.tree.map(jnp.add, params, updates)
        found.append((float(params["kernel"][0, 0]), float(params["bias"][0])))
    return np.array(found)


GRADS = (1.0, -0.5, 3.0)


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_is_torch_sgd(nesterov):
    x, buffer, expected = 2.0, 0.0, []
    for grad in GRADS:
        grad = grad + 0.01 * x  # L2 enters the momentum
        buffer = 0.9 * buffer + grad
        x -= 0.1 * (grad + 0.9 * buffer if nesterov else buffer)
        expected.append((x, x))
    fields = {"kind": "sgd", "weight_decay": 0.01, "nesterov": nesterov}
    np.testing.assert_allclose(trajectory(fields, GRADS), expected, rtol=1e-6)


@pytest.mark.parametrize("kind", ["adam", "adamw"])
def test_adam_and_adamw_differ_in_where_the_decay_goes(kind):
    x, m, v, expected = 2.0, 0.0, 0.0, []
    for t, grad in enumerate(GRADS, start=1):
        decay = 0.01 * x
        grad = grad + (decay if kind == "adam" else 0.0)
        m, v = 0.9 * m + 0.1 * grad, 0.999 * v + 0.001 * grad**2
        move = m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        x -= 0.1 * (move + (decay if kind == "adamw" else 0.0))
        expected.append((x, x))
    fields = {"kind": kind, "weight_decay": 0.01}
    np.testing.assert_allclose(trajectory(fields, GRADS), expected, rtol=1e-5)


def test_decay_may_spare_biases():
    fields = {"kind": "sgd", "weight_decay": 0.5, "decay_all": False, "momentum": 0}
    np.testing.assert_allclose(trajectory(fields, [0.0]), [(2.0 - 0.1, 2.0)])


def test_clipping_comes_before_decay():
    sgd = {"kind": "sgd", "momentum": 0.0, "weight_decay": 1.0}
    by_value = trajectory({**sgd, "clip_value": 0.25}, [-3.0])
    np.testing.assert_allclose(by_value, [[2 - 0.1 * (2 - 0.25)] * 2])
    # Two entries of 3 have norm 3 sqrt(2), which is cut to 1.
    by_norm = trajectory({**sgd, "clip_norm": 1.0}, [3.0])
    np.testing.assert_allclose(by_norm, [[2 - 0.1 * (2 + 0.5**0.5)] * 2])


# One step -------------------------------------------------------------------------


def noise():
    """Training on random points of the ball, the cheapest random attack."""
    return Adversarial((Ascent(Linf(0.1), steps=0, rel_step_size=0.5, keep="last"),))


def test_step_compiles_once_and_replicas_stay_equal():
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, seconds, **_: (
            compiled.append(event)
            if event.endswith("backend_compile_duration")
            else None
        )
    )
    state = parallel.replicate(make_state(Small(norm=True, dropout=0.5), noise()))
    step = parallel.mapped(train_state.make_step(seed=0))
    defense = parallel.replicate(noise())
    counts = []
    for i in range(3):
        batch = parallel.shard(make_batch(seed=i))
        before = len(compiled)
        state, values = step(state, batch, defense)
        counts.append(len(compiled) - before)
    assert counts == [1, 0, 0]
    parallel.assert_replicated((state, values))
    assert int(state.step) == 3
    norm = state.batch_stats["BatchNorm_0"]
    assert not np.allclose(norm["mean"], 0)


def test_averaged_gradient_is_that_of_the_whole_batch():
    optimizer = Optimizer(momentum=0.0).make(1.0)
    state, batch = make_state(optimizer=optimizer), make_batch()
    network = state.network

    def whole(params):
        images = batch["image"].astype(np.float32) / 255
        logits = network.module.apply({"params": params}, images)
        log_p = jax.nn.log_softmax(logits)
        return -jnp.mean(log_p[jnp.arange(16), batch["label"]])

    loss, grads = jax.value_and_grad(whole)(state.params)
    after, values = on_devices(train_state.make_step(0), 8)(state, batch, Clean())
    close(after.params, jax.tree.map(np.subtract, state.params, grads), 1e-5)
    np.testing.assert_allclose(values["loss"], loss, rtol=1e-5)
    norm = np.sqrt(sum(np.sum(np.square(g)) for g in jax.tree.leaves(grads)))
    np.testing.assert_allclose(values["gradient_norm"], norm, rtol=1e-4)


def test_one_and_two_devices_train_alike():
    """Random starts come from the example ids, so the split does not matter."""
    ends = []
    for count in (1, 2):
        state = make_state(defense=noise())
        step = on_devices(train_state.make_step(seed=3), count)
        for i in range(3):
            state, _ = step(state, make_batch(seed=i), noise())
        ends.append(state)
    close(ends[0].params, ends[1].params, 1e-5)
    close(ends[0].opt_state, ends[1].opt_state, 1e-5)


def test_dropout_differs_between_devices_and_steps():
    """On equal images, one device's mask for all would make the losses equal."""
    batch = make_batch(2)
    batch = {k: np.repeat(v[:1], 2, axis=0) for k, v in batch.items()}
    batch["id"] = np.array([3, 4], np.int32)
    state = make_state(Small(dropout=0.5))

    def losses(state, batch, defense):
        key = jax.random.fold_in(jax.random.key(0), state.step)
        image = batch["image"].astype(jnp.float32)
        loss = defense.loss(state.params, state, {**batch, "image": image}, key)[0]
        return state, jax.lax.all_gather(loss, parallel.AXIS)

    first = on_devices(losses, 2)(state, batch, Clean())[1]
    assert first[0] != first[1]
    second = on_devices(losses, 2)(state.replace(step=np.int32(1)), batch, Clean())[1]
    assert second[0] != first[0]


def test_average_of_the_weights():
    state = make_state(averaged=True)
    step = on_devices(train_state.make_step(0, ema_decay=0.75), 2)
    after, _ = step(state, make_batch(), Clean())
    expected = jax.tree.map(
        lambda old, new: 0.75 * old + 0.25 * new, state.params, after.params
    )
    close(after.ema, expected, 1e-6)
    close(after.evaluated[0], expected, 1e-6)


def test_augmentation_sees_the_step_and_the_ids():
    def augment(step, ids, images):
        return images * 0 + (ids[:, None, None, None] + step) / 200

    @struct.dataclass
    class Seen:
        def loss(self, params, state, batch, key):
            value = jnp.mean(batch["image"])
            out = Clean().loss(params, state, batch, key)[1]
            return out.replace() and value, out

    state, batch = make_state().replace(step=np.int32(7)), make_batch()
    step = on_devices(train_state.make_step(0, augment=augment), 2)
    values = step(state, batch, Seen())[1]
    np.testing.assert_allclose(values["loss"], (batch["id"].mean() + 7) / 200, 1e-5)


# Validation -----------------------------------------------------------------------


@pytest.mark.parametrize("count, batch_size", [(13, 8), (16, 500)])
def test_validation_counts_every_image_once(count, batch_size):
    state, images = make_state(), small_source(count).get(np.arange(count))["image"]
    labels = np.arange(count) % CLASSES
    # The first image, copies of which fill the last batch, is correct.
    labels[0] = np.argmax(
        state.network.module.apply({"params": state.params}, images[:1])
    )
    source = sources.from_arrays(images, labels)
    validator = Validator(state.network, (Fgsm(Linf(0.1)),), source, 0, batch_size)
    scores = validator(*state.evaluated)

    def logits(x):
        return state.network.module.apply({"params": state.params}, x)

    def hits(x):
        return np.argmax(logits(x), 1) == source.labels

    log_p = lambda x: jax.nn.log_softmax(logits(x))  # noqa: E731
    total = lambda x: -jnp.sum(log_p(x)[jnp.arange(count), source.labels])  # noqa: E731
    attacked = np.clip(images + 0.1 * np.sign(jax.grad(total)(images)), 0, 1)
    np.testing.assert_allclose(scores["clean"], hits(images).mean())
    expected = (hits(images) & hits(attacked)).mean()
    np.testing.assert_allclose(scores["robust"], expected)


def test_validation_takes_no_broken_margin_for_robust(monkeypatch):
    def broken(attack, model, key, images, labels, ids):
        margin = jnp.full(len(images), jnp.nan)
        return types.SimpleNamespace(success=margin >= 0, margin=margin)

    monkeypatch.setattr(validation, "craft", broken)
    state, source = make_state(), small_source(9)
    scores = Validator(state.network, (None,), source, 0, 16)(*state.evaluated)
    assert scores["robust"] == 0.0


def test_collapse_is_told_from_a_bad_epoch():
    notes = loop.Notes(best_robust=0.45, last_clean=0.80)
    for robust, clean, expected in [
        (0.10, 0.85, True),
        (0.34, 0.75, True),
        (0.36, 0.85, False),  # within ten points
        (0.10, 0.60, False),  # the clean accuracy fell too
    ]:
        scores = {"robust": robust, "clean": clean}
        assert loop.collapsed(notes, scores) is expected
    assert not loop.collapsed(loop.Notes(), {"robust": 0.0, "clean": 0.9})


# The loop -------------------------------------------------------------------------


def test_run_learns_and_tells(small_config, tmp_path, capsys):
    small_config.clean_epochs = 1
    small_config.epochs = 6
    small_config.optimizer.learning_rate = 0.2
    small_config.ema_decay = 0.5
    small_config.model.compute_dtype = "bfloat16"
    notes = loop.run(small_config, tmp_path / "run")
    assert notes.finished == "6 epochs" and notes.best > 0.6
    output = capsys.readouterr().out
    assert "training from step 0 of 18: 49 images, 3 steps an epoch" in output
    for what in ("the training step", "the step of the clean epochs", "the validation"):
        assert output.count(f"compiling {what} …\n") == 1
    assert "epoch 6/6  loss" in output and "images/s  eta 0:00" in output
    rows = log.read(tmp_path / "run")
    epochs = [row for row in rows if row["kind"] == "epoch"]
    assert [row["epoch"] for row in epochs] == [1, 2, 3, 4, 5, 6]
    assert "train_clean_accuracy" in epochs[0]  # the clean epoch
    assert "train_robust_accuracy" in epochs[1]
    steps = [row["step"] for row in rows if row["kind"] == "train"]
    assert steps == list(range(2, 19, 2))
    assert list((tmp_path / "run" / "tensorboard").iterdir())
    again = loop.run(small_config, tmp_path / "run")
    assert again == notes
    assert "is finished: 6 epochs" in capsys.readouterr().out
    other = small_config.copy_and_resolve_references()
    other.seed = 1
    with pytest.raises(UsageError, match=r"other settings: config\.seed: 0 -> 1"):
        loop.run(other, tmp_path / "run")
    # The best checkpoint is the one with the best robust validation accuracy.
    classifier, config, info = checkpoints.load_classifier(tmp_path / "run")
    scores = [row["validation_robust"] for row in epochs]
    assert info["epoch"] == notes.best_epoch == 1 + int(np.argmax(scores))
    assert info["num_classes"] == CLASSES and info["image_shape"] == SHAPE
    assert config.attack.threat.eps == 0.05
    assert classifier.apply.module.compute_dtype == "bfloat16"
    assert {v.dtype.name for v in jax.tree.leaves(classifier.variables)} == {"float32"}
    source = sources.load()
    held_out = sources.split_train_validation(source, 15, small_config.seed)[1]
    images = held_out.get(np.arange(15))["image"]
    predicted = np.argmax(jax.vmap(classifier)(images), 1)
    assert np.mean(predicted == held_out.labels) == pytest.approx(info["clean"])


def test_run_in_parts_is_the_run_in_one(small_config, tmp_path, monkeypatch):
    """An exception at any step, and the same call again, end in the same bits."""
    small_config.checkpoint_steps = 1
    whole = loop.run(small_config, tmp_path / "whole")
    save, stops = checkpoints.Checkpoints.save, [2, 3]

    def interrupted(self, step, trees, meta):
        save(self, step, trees, meta)
        if stops and step == stops[0]:
            stops.pop(0)
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints.Checkpoints, "save", interrupted)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            loop.run(small_config, tmp_path / "parts")
    assert loop.run(small_config, tmp_path / "parts") == whole
    rows = []
    for name in ("whole", "parts"):
        found = log.read(tmp_path / name)
        rows.append([{**r, "images_per_second": 0} for r in found])
    assert rows[0] == rows[1]
    for which in ("best", "last"):
        a, b = (
            checkpoints.load_classifier(tmp_path / name, which)[0].variables
            for name in ("whole", "parts")
        )
        jax.tree.map(np.testing.assert_array_equal, a, b)


def test_memory_of_examples_survives_an_interruption(
    small_config, tmp_path, monkeypatch
):
    """Each example's weights, bit for bit, and those of the held out unmoved."""
    with small_config.unlocked():
        attack = {"name": "pgd", "steps": 2, "rel_step_size": 0.5}
        small_config.attack = {}
        small_config.attacks = {
            name: {**attack, "threat": {"name": name, "eps": eps}}
            for name, eps in (("linf", 0.05), ("l2", 0.2))
        }
        small_config.defense = {"name": "generalized", "weight_step": 0.3}
    config = settings.complete(small_config)
    config.epochs, config.checkpoint_steps = 2, 1
    save, stops, memory = checkpoints.Checkpoints.save, [], {}

    def interrupted(self, step, trees, meta):
        save(self, step, trees, meta)
        memory[step] = np.array(trees["training"]["memory"])
        if stops and step == stops[0]:
            stops.pop(0)
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints.Checkpoints, "save", interrupted)
    loop.run(config, tmp_path / "whole")
    whole, stops[:] = memory.copy(), [4]
    memory.clear()
    with pytest.raises(KeyboardInterrupt):
        loop.run(config, tmp_path / "parts")
    loop.run(config, tmp_path / "parts")
    assert memory.keys() == whole.keys()
    for step, rows in whole.items():
        np.testing.assert_array_equal(memory[step], rows)
    assert whole[6].shape == (49, 2)
    moved = np.any(whole[6] != 0.5, axis=1)
    assert moved.sum() > 40 and np.any(whole[6] != whole[3])


def test_collapse_is_reported_and_stops_early(
    small_config, tmp_path, monkeypatch, capsys
):
    scores = iter([(0.5, 0.9), (0.1, 0.95)])

    def fake(self, *_):
        return dict(zip(("robust", "clean"), next(scores), strict=True))

    monkeypatch.setattr(Validator, "__call__", fake)
    small_config.patience = 1
    notes = loop.run(small_config, tmp_path)
    assert notes.finished == "no better validation score for 1 epochs"
    rows = [r for r in log.read(tmp_path) if r["kind"] == "epoch"]
    assert [r["epoch"] for r in rows] == [1, 2]
    assert checkpoints.load_classifier(tmp_path)[2]["epoch"] == 1
    output = capsys.readouterr().out
    assert "WARNING: catastrophic overfitting: robust validation accuracy" in output
    assert [r["catastrophic_overfitting"] for r in rows] == [False, True]


def test_nan_stops_with_the_step_and_the_ids(small_config, tmp_path, monkeypatch):
    source = small_source(64)
    images = source.get(np.arange(64))["image"]
    train, _ = sources.split_train_validation(source, 15, small_config.seed)

    # The first image of every batch turns bad after the first epoch.
    def read(rows, draw):
        found = {"image": images[rows], "label": source.labels[rows]}
        if draw is not None and draw[1] == 1:
            found["image"][0] = np.nan
        return found

    bad = types.SimpleNamespace(**{**vars(source), "read": read})
    monkeypatch.setattr(sources, "load", lambda *_: sources.Source(**vars(bad)))
    with pytest.raises(UsageError, match=r"step 4: loss is nan \(example ids \d") as e:
        loop.run(small_config, tmp_path)
    order = np.random.default_rng((small_config.seed, 1)).permutation(len(train))
    assert ", ".join(map(str, order[:16])) in str(e.value)
    variables = checkpoints.load_classifier(tmp_path, "last")[0].variables
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(variables))


# Metrics --------------------------------------------------------------------------


def test_a_folder_has_one_run_at_a_time(small_config, tmp_path):
    with locks.hold(tmp_path / "run"):
        with pytest.raises(UsageError, match="--workdir: .* is in use by process "):
            loop.run(small_config, tmp_path / "run")
        assert [p.name for p in (tmp_path / "run").iterdir()] == [locks.FILE]
    assert not (tmp_path / "run").exists()


def test_resumed_metrics_have_no_duplicates(tmp_path):
    writer = log.Writer(tmp_path)
    for step in (1, 2, 3):
        writer.write(step, "train", {"loss": 1.0 / step})
    writer.close()
    with open(tmp_path / log.FILE, "a") as file:
        file.write('{"step": 4, "ki')  # killed while writing
    writer = log.Writer(tmp_path, resumed=2)
    writer.write(3, "train", {"loss": 0.25})
    writer.close()
    rows = [json.loads(r) for r in (tmp_path / log.FILE).read_text().splitlines()]
    assert [(r["step"], r["loss"]) for r in rows] == [(1, 1.0), (2, 0.5), (3, 0.25)]


def test_progress_says_when_it_compiles(capsys, lowered):
    progress = log.Progress(total=100, done=10, images=32)
    lowered(2.0)
    lowered(2.0)
    progress.advance()
    lowered(0.01)  # a small program
    lowered(2.0)
    progress.close()
    lowered(2.0)
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["step 10/100  compiling …", "step 11/100  compiling …"]


def test_progress_says_what_it_compiles_before_it_does(capsys, lowered):
    progress = log.Progress(total=100, done=10, images=32)
    for line in ("compiling the training step …\n", ""):
        with progress.making("the training step"):
            assert capsys.readouterr().out == line
            if line:
                lowered(2.0)  # it has been said
        progress.advance()
        assert capsys.readouterr().out == ""
    with pytest.raises(ZeroDivisionError), progress.making("the validation"):
        1 / 0  # noqa: B018
    lowered(2.0)
    progress.close()
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["compiling the validation …", "step 12/100  compiling …"]


def test_a_bar_says_that_something_is_compiled(monkeypatch):
    told = []
    monkeypatch.setattr(log.sys, "stderr", types.SimpleNamespace(isatty=lambda: True))
    bar = types.SimpleNamespace(set_description_str=told.append, close=lambda: None)
    monkeypatch.setattr(log, "tqdm", lambda **_: bar)
    monkeypatch.setattr(log.Progress, "say", lambda self, line: told.append(line))
    progress = log.Progress(total=100, done=10, images=32)
    with progress.making("the training step"):
        assert told == ["compiling the training step …", "compiling …"]
    progress.close()
    assert told[2:] == [""]


def test_progress_leaves_compilation_out_of_the_pace(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(log.time, "monotonic", lambda: now[0])
    progress = log.Progress(total=100, done=10, images=32, enabled=False)
    for seconds in (60.0, 2.0, 2.0):  # the first one compiles
        now[0] += seconds
        progress.advance()
    assert progress.images_per_second == pytest.approx(16)
    assert progress.seconds_left == pytest.approx(87 * 2)
    now[0] += 4
    progress.pause(4)
    assert progress.images_per_second == pytest.approx(16)
    assert progress.seconds_left == pytest.approx(87 * 4)
    assert log.clock(3725) == "1:02:05" and log.clock(59.6) == "1:00"


# Settings -------------------------------------------------------------------------


def test_complete_configs_show_every_field():
    config = settings.default_config()
    config.attack = {"name": "pgd", "threat": {"name": "linf", "eps": 1}, "steps": 1}
    config.attack.rel_step_size = 1.25
    config = settings.complete(config)
    assert config.attack.keep == "last" and config.attack.restarts == 1
    assert isinstance(config.attack.threat.eps, float)
    assert config.attack.objective.name == "cross_entropy"
    config.attack.momentum = 0.5  # None before, but typed
    with pytest.raises(TypeError):
        config.attack.momentum = "much"
    plan = settings.plan(config)
    assert plan.single_step
    (attack,) = plan.validation
    assert attack.steps == 20 and attack.keep == "best"
    assert attack.rel_step_size == 2.5 / 20 and attack.step_size is None


def test_several_attacks_are_all_validated():
    config = settings.default_config()
    config.defense = {"name": "adversarial", "mode": "maximum"}
    config.attacks = {
        label: {"name": "fgsm", "threat": {"name": "linf", "eps": eps}}
        for label, eps in (("a", 0.1), ("b", 0.2))
    }
    plan = settings.plan(settings.complete(config))
    assert [attack.threat.eps for attack in plan.defense.attacks] == [0.1, 0.2]
    assert [attack.steps for attack in plan.validation] == [20, 20]
