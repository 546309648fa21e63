"""Shards of finished examples: what is damaged is passed over and done again."""

import jax
import numpy as np
import pytest

import jaxadv as ja
from jaxadv import console, preemption
from jaxadv.craft.journal import Journal
from jaxadv.files import storage

IDS = np.arange(6)
ROWS = {"image": np.linspace(0, 1, 24, dtype=np.float32).reshape(6, 2, 2),
        "success": IDS % 2 == 0}  # fmt: skip


def written(folder):
    """Two shards, of the first three and of the other examples."""
    for rows in (slice(0, 3), slice(3, 6)):
        journal = Journal(folder)
        journal.write(IDS[rows], {k: v[rows] for k, v in ROWS.items()})
        journal.flush()
    first, second = sorted(folder.glob("*.npz"))
    return first, second


def loaded(folder):
    return Journal(folder).load(IDS, ROWS)


def test_what_was_written_is_found(tmp_path):
    written(tmp_path)
    known = loaded(tmp_path)
    assert sorted(known) == list(IDS)
    for i, (image, success) in known.items():
        assert np.array_equal(image, ROWS["image"][i])
        assert success == ROWS["success"][i]


def empty(path):
    path.write_bytes(b"")


def half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def foreign(path):
    np.savez(path, ids=np.arange(3), weights=np.ones(3))


def text(path):
    path.write_text("not an archive")


def other_shape(path):
    np.savez(path, ids=IDS[:3], leaf0=np.ones((3, 3, 3), np.float32),
             leaf1=np.ones(3, bool))  # fmt: skip


def other_type(path):
    np.savez(path, ids=IDS[:3], leaf0=ROWS["image"][:3], leaf1=np.ones(3))


def fewer_rows(path):
    np.savez(path, ids=IDS[:3], leaf0=ROWS["image"][:2], leaf1=np.ones(2, bool))


def another_number(path):
    """The archive is sound, a number in it is not the one that was written."""
    with np.load(path) as shard:
        arrays = dict(shard)
    arrays["leaf0"][0, 0, 0] += 1
    np.savez(path, **arrays)


@pytest.mark.parametrize(
    "damage",
    [empty, half, foreign, text, other_shape, other_type, fewer_rows, another_number],
)
def test_a_damaged_shard_is_passed_over(tmp_path, damage):
    first, _ = written(tmp_path)
    damage(first)
    with pytest.warns(UserWarning, match=f"{first.name} is damaged and is passed over"):
        assert sorted(loaded(tmp_path)) == [3, 4, 5]
    Journal(tmp_path).write(IDS[:3], {k: v[:3] for k, v in ROWS.items()})


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_no_flipped_bit_is_taken_for_a_result(tmp_path):
    """A bit of every seventh byte: rows are missing, or those that were written."""
    first, second = written(tmp_path)
    second.unlink()
    content = first.read_bytes()
    for place in range(0, len(content), 7):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        first.write_bytes(damaged)
        for i, (image, success) in loaded(tmp_path).items():
            assert np.array_equal(image, ROWS["image"][i]), place
            assert success == ROWS["success"][i], place


def test_shards_without_a_checksum_are_read(tmp_path):
    np.savez(tmp_path / "000-1.npz", ids=IDS[:3], leaf0=ROWS["image"][:3],
             leaf1=ROWS["success"][:3])  # fmt: skip
    assert sorted(loaded(tmp_path)) == [0, 1, 2]


def test_what_a_kill_has_left_is_removed(tmp_path, monkeypatch):
    """But not the file that another process of this run is writing."""
    monkeypatch.setattr("jax.process_count", lambda: 3)
    for i in range(5):
        (tmp_path / f"{i:03d}-1.tmp").write_bytes(b"half a shard")
    loaded(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"001-1.tmp", "002-1.tmp"}


def test_a_name_is_taken_by_whole_files_only(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), storage.replacing(path) as temporary:
        temporary.write_text("ha")
        raise KeyboardInterrupt
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
    with storage.replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    (tmp_path / ".a.txt.1.tmp").touch()
    storage.remove_temporary(tmp_path)
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_finished_is_kept_when_the_command_is_asked_to_stop(tmp_path):
    model = ja.Classifier.from_function(lambda w, x, key: x.ravel(), None)
    images = np.random.default_rng(0).random((20, 2, 2, 1), np.float32)
    labels, attack = images.reshape(20, 4).argmax(1), ja.Fgsm(ja.Linf(0.1))
    done = []

    def craft(progress=done.append):
        return ja.craft_batches(
            attack, model, jax.random.key(0), images, labels, batch_size=1,
            journal=Journal(tmp_path, every_seconds=1e9), progress=progress,
        )  # fmt: skip

    def ask(count):
        done.append(count)
        if count:
            preemption.ask()

    with preemption.heeded(), pytest.raises(console.Stopped):
        craft(ask)
    first = sum(done)
    assert 0 < first < 20
    done.clear()
    craft()
    assert done[0] == first and sum(done) == 20
