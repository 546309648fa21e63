"""Saving, restoring, and what happens to damaged or foreign folders."""

import json
import shutil

import jax
import numpy as np
import pytest

from jaxadv import checkpoints, parallel
from jaxadv.defenses import Clean
from jaxadv.defenses.base import Network
from jaxadv.specs import UsageError
from jaxadv.training import changes, loop, settings
from jaxadv.training import state as train_state
from jaxadv.training.optim import Optimizer

SHAPE = (4, 4, 1)

# A failed read can outlive the event loop that Orbax has closed.
pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture(scope="module")
def run():
    """A config, the state of a new run, its trees and notes."""
    config = settings.default_config()
    config.model = {"name": "mlp"}
    config.normalize.mean, config.normalize.std = (0.25,), (0.5,)
    config.optimizer.name = "adam"
    config = settings.complete(config)
    state = train_state.create_state(
        Network(settings.network(config, 3), (0.25,), (0.5,)),
        Clean().init(SHAPE, 10),
        Optimizer(kind="adam").make(0.1),
        seed=0,
        image_shape=SHAPE,
    )
    meta = {
        "config": settings.plain(config),
        "num_classes": 3,
        "image_shape": list(SHAPE),
        "score": float("inf"),
    }
    return config, state, meta


def trees(state, value):
    """The trees of `state`, all numbers of which are shifted by `value`."""
    shifted = jax.tree.map(lambda x: (x + value).astype(x.dtype), state)
    return loop._trees(shifted)


def equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)
    assert jax.tree.structure(a) == jax.tree.structure(b)


def saved(folder, run, steps, best=()):
    _, state, meta = run
    store = checkpoints.Checkpoints(folder)
    for step in steps:
        store.save(step, trees(state, step), {**meta, "note": step})
        store.wait()
    for step in best:
        store.save_best(step, trees(state, step)["model"], meta)
        store.wait()
    store.close()


def restored(folder, run):
    store = checkpoints.Checkpoints(folder)
    try:
        return store.restore(loop._trees(run[1]))
    finally:
        store.close()


def test_restored_is_saved_bit_for_bit(tmp_path, run):
    assert restored(tmp_path, run) is None
    saved(tmp_path, run, [1, 2, 3, 4])
    found, meta = restored(tmp_path, run)
    equal(found, trees(run[1], 4))
    assert meta["step"] == 4 and meta["note"] == 4 and meta["score"] == float("inf")
    names = sorted(p.name for p in (tmp_path / checkpoints.LAST).iterdir())
    assert names == ["2", "3", "4"]  # the last three are kept


def test_saved_is_a_copy(tmp_path, run):
    """The buffers may be overwritten as soon as save returns."""
    _, state, meta = run
    mine = trees(state, 1)
    store = checkpoints.Checkpoints(tmp_path)
    store.save(1, mine, meta)
    for leaf in jax.tree.leaves(mine["model"]):
        leaf[...] = -1
    store.close()
    equal(restored(tmp_path, run)[0], trees(state, 1))


def largest(folder):
    files = [p for p in folder.rglob("*") if p.is_file()]
    return max(files, key=lambda p: p.stat().st_size)


def truncate(folder):
    path = largest(folder / "model")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_a_bit(folder):
    path = largest(folder / "model")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def lose_a_part(folder):
    shutil.rmtree(folder / "training")


def spoil_the_notes(folder):
    (folder / "meta" / "metadata").write_text("{")


def change_the_notes(folder):
    path = folder / "meta" / "metadata"
    meta = json.loads(path.read_text())
    meta["checksums"]["training"] += 1
    path.write_text(json.dumps(meta))


def edit_the_normalization(folder):
    path = folder / "meta" / "metadata"
    meta = json.loads(path.read_text())
    meta["config"]["normalize"]["std"] = [0.75]
    path.write_text(json.dumps(meta))


@pytest.mark.parametrize(
    "damage",
    [
        truncate,
        flip_a_bit,
        lose_a_part,
        spoil_the_notes,
        change_the_notes,
        edit_the_normalization,
    ],
)
def test_damaged_checkpoints_are_passed_over(tmp_path, run, damage):
    saved(tmp_path, run, [1, 2])
    damage(tmp_path / checkpoints.LAST / "2")
    with pytest.warns(
        UserWarning, match=r"checkpoints/2 is damaged and is passed over"
    ):
        found, meta = restored(tmp_path, run)
    assert meta["step"] == 1
    equal(found, trees(run[1], 1))
    saved(tmp_path, run, [2])  # its step can be saved again
    assert restored(tmp_path, run)[1]["step"] == 2


def everything(folder):
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_nothing_readable_is_an_error_and_nothing_is_lost(tmp_path, run):
    saved(tmp_path, run, [1, 2])
    for step in ("1", "2"):
        truncate(tmp_path / checkpoints.LAST / step)
    before = everything(tmp_path)
    for _ in range(2):  # the next start neither
        with (
            pytest.warns(UserWarning),
            pytest.raises(UsageError, match="are damaged; give"),
        ):
            restored(tmp_path, run)
        assert everything(tmp_path) == before


def test_damage_stays_until_the_restored_run_has_saved(tmp_path, run):
    _, state, meta = run
    saved(tmp_path, run, [1, 5])
    truncate(tmp_path / checkpoints.LAST / "5")
    before = everything(tmp_path)
    with pytest.warns(UserWarning, match="passed over"):
        restored(tmp_path, run)
    assert everything(tmp_path) == before
    store = checkpoints.Checkpoints(tmp_path)
    with pytest.warns(UserWarning, match="passed over"):
        store.restore(loop._trees(state))
    store.save(3, trees(state, 3), meta)
    store.close()
    names = {p.name for p in (tmp_path / checkpoints.LAST).iterdir()}
    assert names == {"1", "3"} and restored(tmp_path, run)[1]["step"] == 3


def test_folders_of_others_are_left_alone(tmp_path, run):
    for number in ("2", "90"):
        foreign = tmp_path / checkpoints.LAST / number
        foreign.mkdir(parents=True)
        (foreign / "thesis.txt").write_text("mine")
    before = everything(tmp_path)
    with pytest.warns(UserWarning), pytest.raises(UsageError, match="are damaged"):
        restored(tmp_path, run)
    assert everything(tmp_path) == before
    saved(tmp_path, run, [1, 3, 4, 5, 6])
    with pytest.warns(UserWarning, match="checkpoints/90 is damaged"):
        assert restored(tmp_path, run)[1]["step"] == 6
    names = {p.name for p in (tmp_path / checkpoints.LAST).iterdir()}
    assert names == {"2", "90", "4", "5", "6"}
    assert before.items() <= everything(tmp_path).items()
    with pytest.raises(UsageError, match="checkpoints/90 is no checkpoint"):
        saved(tmp_path, run, [90])


def test_notes_without_a_checksum_are_those_of_older_runs(tmp_path, run):
    saved(tmp_path, run, [1])
    path = tmp_path / checkpoints.LAST / "1" / "meta" / "metadata"
    meta = json.loads(path.read_text())
    del meta["checksums"]["meta"]
    path.write_text(json.dumps(meta))
    assert restored(tmp_path, run)[1]["step"] == 1


def test_unfinished_checkpoints_are_not_seen(tmp_path, run):
    saved(tmp_path, run, [1])
    folder = tmp_path / checkpoints.LAST
    shutil.copytree(folder / "1", folder / "2.orbax-checkpoint-tmp")
    assert restored(tmp_path, run)[1]["step"] == 1
    assert [p.name for p in folder.iterdir()] == ["1"]


def test_saving_a_step_again_replaces_it(tmp_path, run):
    saved(tmp_path, run, [3], best=[3])
    saved(tmp_path, run, [3], best=[3, 4])
    assert [p.name for p in (tmp_path / checkpoints.BEST).iterdir()] == ["4"]
    assert restored(tmp_path, run)[1]["step"] == 3


@pytest.mark.parametrize("which, step", [("best", 2), ("last", 3)])
def test_loaded_classifier_is_the_saved_network(tmp_path, run, which, step):
    config, state, _ = run
    saved(tmp_path, run, [1, 3], best=[2])
    classifier, found, info = checkpoints.load_classifier(tmp_path, which)
    assert settings.plain(found) == settings.plain(config)
    assert (info["step"], info["num_classes"], info["image_shape"]) == (step, 3, SHAPE)
    image = np.random.default_rng(0).random(SHAPE).astype(np.float32)
    params = trees(state, step)["model"]["params"]
    normalized = (image[None] - 0.25) / 0.5
    expected = state.network.module.apply({"params": params}, normalized)[0]
    found = jax.jit(lambda model, x: model(x))(classifier, image)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_averaged_weights_are_preferred(tmp_path, run):
    _, state, meta = run
    ema = jax.tree.map(lambda p: p * 0 + 2, state.params)
    store = checkpoints.Checkpoints(tmp_path)
    store.save_best(1, loop._trees(state.replace(ema=ema))["model"], meta)
    store.close()
    variables = checkpoints.load_classifier(tmp_path)[0].variables
    equal(variables["params"], ema)


def test_loading_passes_over_damage_and_changes_nothing(tmp_path, run):
    saved(tmp_path, run, [1, 2])
    truncate(tmp_path / checkpoints.LAST / "2")
    before = sorted(str(p) for p in tmp_path.rglob("*"))
    with pytest.warns(UserWarning, match="is damaged"):
        info = checkpoints.load_classifier(tmp_path, "last")[2]
    assert info["step"] == 1
    assert sorted(str(p) for p in tmp_path.rglob("*")) == before


def test_missing_checkpoints_are_named(tmp_path, run):
    for path in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(UsageError, match="expected the --workdir of a training"):
            checkpoints.load_classifier(path)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UsageError, match="allowed: 'best', 'last'"):
        checkpoints.load_classifier(tmp_path, "first")


def test_another_config_is_told_by_its_field(tmp_path, run):
    fields = settings.plain(run[0])
    assert not changes.check(tmp_path, fields)
    checkpoints.write_config(tmp_path, fields)
    assert changes.check(tmp_path, fields)
    other = {**fields, "optimizer": {**fields["optimizer"], "b1": 0.5}}
    with pytest.raises(UsageError, match=r"config\.optimizer\.b1: 0\.9 -> 0\.5"):
        changes.check(tmp_path, other)
    with pytest.raises(UsageError, match="cannot be written: Not a directory"):
        checkpoints.write_config(tmp_path / checkpoints.CONFIG / "run", fields)
    (tmp_path / checkpoints.CONFIG).write_text("{")
    with pytest.raises(UsageError, match=r"config\.json is damaged"):
        changes.check(tmp_path, fields)


def test_a_lost_config_is_known_from_the_checkpoint(tmp_path, run):
    fields = settings.plain(run[0])
    checkpoints.write_config(tmp_path, fields)
    saved(tmp_path, run, [1, 2])
    other = {**fields, "optimizer": {**fields["optimizer"], "learning_rate": 7.0}}
    (tmp_path / checkpoints.CONFIG).unlink()
    spoil_the_notes(tmp_path / checkpoints.LAST / "2")
    assert changes.check(tmp_path, fields)
    with pytest.raises(UsageError, match=r"learning_rate: 0\.\d+ -> 7\.0"):
        changes.check(tmp_path, other)
    checkpoints.write_config(tmp_path, other)  # as if somebody had edited it
    with pytest.raises(UsageError, match=r"learning_rate: 0\.\d+ -> 7\.0"):
        changes.check(tmp_path, other)


def test_restoring_needs_no_devices_in_the_file(tmp_path, run):
    """Replicated state on eight devices and numpy state make the same checkpoint."""
    _, state, meta = run
    sums = []
    for name, one in (("numpy", state), ("devices", parallel.replicate(state))):
        store = checkpoints.Checkpoints(tmp_path / name)
        store.save(1, loop._trees(one), meta)
        store.close()
        sums.append(restored(tmp_path / name, run)[1]["checksums"])
    assert sums[0] == sums[1]
