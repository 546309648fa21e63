"""Training that begins with given weights."""

import shutil

import jax
import numpy as np
import pytest
from flax import traverse_util

from jaxadv import checkpoints, commands, weights
from jaxadv.data import sources
from jaxadv.files import checksums
from jaxadv.models import MODELS
from jaxadv.specs import UsageError
from jaxadv.training import loop, settings
from tests.training.small import Small, small_source


@pytest.fixture
def source(small_config, tmp_path):
    """The folder of a run of one epoch with averaged weights."""
    config = small_config.copy_and_resolve_references()
    config.update({"epochs": 1, "ema_decay": 0.5})
    loop.run(config, tmp_path / "source")
    return tmp_path / "source"


def flat(tree):
    return traverse_util.flatten_dict(jax.device_get(tree), sep="/")


def begun(config, folder):
    """The variables before the first step, and the loop."""
    found = loop._Loop(config, settings.plan(config), folder)
    state = found.state
    return flat({"params": state.params, "batch_stats": state.batch_stats}), found


def test_a_run_begins_with_the_evaluated_weights(small_config, source, tmp_path):
    theirs = checkpoints.load_classifier(source)[0].variables
    fresh = begun(small_config, tmp_path / "run")[0]
    small_config.init_from = str(source)
    found, started = begun(small_config, tmp_path / "run")
    assert found.keys() == fresh.keys() == flat(theirs).keys()
    for path, value in flat(theirs).items():
        np.testing.assert_array_equal(found[path], value)
    assert any(np.any(found[p] != fresh[p]) for p in found if "batch_stats" in p)
    zero = jax.tree.leaves(started.state.opt_state)
    assert all(not np.any(leaf) for leaf in zero) and int(started.state.step) == 0
    assert started.initial == {
        "path": str(source),
        "step": 3,
        "checksum": checksums.checksum(flat(theirs)),
        "new": [],
    }


def test_another_number_of_classes_has_a_new_head(
    small_config, source, tmp_path, monkeypatch, capsys
):
    images = small_source(64).get(np.arange(64))["image"]
    five = sources.from_arrays(images, np.arange(64) % 5, name="five", split="train")
    monkeypatch.setattr(sources, "load", lambda *_: five)
    fresh = begun(small_config, tmp_path / "run")[0]
    small_config.init_from, small_config.epochs = str(source), 1
    theirs = flat(checkpoints.load_classifier(source)[0].variables)
    found = begun(small_config, tmp_path / "run")[0]
    for path, value in found.items():
        wanted = fresh if "Dense_1" in path else theirs
        np.testing.assert_array_equal(value, wanted[path])
    capsys.readouterr()
    loop.run(small_config, tmp_path / "run")
    output = capsys.readouterr().out
    total = checksums.checksum(theirs)
    assert f"begins with the weights of {source} (step 3, checksum {total:08x})" in (
        output
    )
    assert "3 classes there, 5 here: the head (Dense_1) is new" in output
    # What it has begun with is known of it, and is not read again.
    shutil.rmtree(source)
    info = checkpoints.load_classifier(tmp_path / "run")[2]
    assert info["initial"]["checksum"] == total
    assert info["initial"]["new"] == ["Dense_1"]
    assert info["config"]["init_from"] == str(source)
    flags = [f"--workdir={tmp_path / 'run'}", "--config.epochs=2"]
    assert commands.train(["train.py", *flags]) == 0
    assert "begins with" not in capsys.readouterr().out
    meta = checkpoints.recorded(tmp_path / "run")[1]
    assert meta["epoch"] == 2 and meta["initial"] == info["initial"]


def test_a_module_may_begin_new(small_config, source, tmp_path):
    theirs = flat(checkpoints.load_classifier(source)[0].variables)
    fresh = begun(small_config, tmp_path / "run")[0]
    small_config.init_from, small_config.init_new = str(source), ("Dense_0",)
    found, started = begun(small_config, tmp_path / "run")
    for path, value in found.items():
        wanted = fresh if "Dense_0" in path else theirs
        np.testing.assert_array_equal(value, wanted[path])
    assert started.initial["new"] == ["Dense_0"]
    assert "new as config.init_new says: Dense_0" in started.lines


def test_modules_that_begin_new_may_have_another_size(small_config, source, tmp_path):
    small_config.init_from, small_config.model.width = str(source), 7
    small_config.init_new = ("Dense_0", "Dense_1", "BatchNorm_0")
    found = begun(small_config, tmp_path / "run")[0]
    assert found["params/Dense_0/kernel"].shape == (16, 7)
    small_config.init_new = ("conv1",)
    with pytest.raises(UsageError, match=r"no module 'conv1'; modules: .*Dense_0"):
        begun(small_config, tmp_path / "run")


def test_a_weight_file_is_begun_with(small_config, source, tmp_path):
    theirs = checkpoints.load_classifier(source)[0].variables
    path = tmp_path / "small.safetensors"
    weights.save(path, weights.Weights(Small(norm=True), theirs, (0.5,), (1.0,)))
    small_config.init_from = str(path)
    found, started = begun(small_config, tmp_path / "run")
    for name, value in flat(theirs).items():
        np.testing.assert_array_equal(found[name], value)
    assert started.initial["step"] is None
    assert started.lines[1:] == (
        "WARNING: config.normalize.mean is (0.0,), there (0.5,)",
    )


def test_a_foreign_weight_file_is_begun_with(tmp_path, monkeypatch):
    """A state dict of PyTorch, through the names that `weights` knows."""
    rng = np.random.default_rng(0)
    images = rng.random((24, 32, 32, 3), np.float32)
    some = sources.from_arrays(images, np.arange(24) % 3, name="some", split="train")
    monkeypatch.setattr(sources, "load", lambda *_: some)
    config = settings.default_config()
    config.batch_size, config.data.validation = 8, 0
    config.model = {"name": "cifar_alexnet", "width": 4, "hidden": 8}
    config = settings.complete(config)
    module = MODELS["cifar_alexnet"](num_classes=7, width=4, hidden=8)
    like = weights.layouts.base.abstract(module, (1, 32, 32, 3))
    variables = jax.tree.map(
        lambda x: rng.normal(size=x.shape).astype(np.float32), like
    )
    tensors = {}
    for path, value in traverse_util.flatten_dict(variables).items():
        name = weights.LAYOUTS["cifar_alexnet"].name(path[1:-1])
        kernel = path[-1] == "kernel"
        axes = {4: (3, 2, 0, 1), 2: (1, 0)}
        value = value.transpose(axes[value.ndim]) if kernel else value
        ending = "weight" if kernel else "bias"
        tensors[f"{name}.{ending}"] = np.ascontiguousarray(value)
    import safetensors.numpy

    path = tmp_path / "foreign.safetensors"
    safetensors.numpy.save_file(tensors, path)
    config.init_from = str(path)
    found, started = begun(config, tmp_path / "run")
    assert started.initial["new"] == ["head"]
    assert found["params/head/kernel"].shape == (8, 3)
    np.testing.assert_array_equal(
        found["params/conv1/kernel"], variables["params"]["conv1"]["kernel"]
    )


@pytest.mark.parametrize(
    "fields, message",
    [
        (
            {"norm": False},
            r"does not fit config\.model \('small'\): batch_stats/BatchNorm_0/mean is "
            r"none of its arrays, .*, params/BatchNorm_0/bias is none of its arrays "
            r"and 1 more",
        ),
        (
            {"width": 7},
            r"batch_stats/BatchNorm_0/mean is 6 there, 7 here, .* and 4 more$",
        ),
        ({"path": "nowhere"}, r"config\.init_from: nowhere: No such file"),
        ({"path": "."}, r"config\.init_from: \.: no checkpoint here"),
    ],
)
def test_what_does_not_fit_is_named(small_config, source, tmp_path, fields, message):
    fields = dict(fields)
    small_config.init_from = fields.pop("path", str(source))
    small_config.model.update(fields)
    with pytest.raises(UsageError, match=message):
        loop.run(small_config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
