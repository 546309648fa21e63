"""Validation splits, and batches."""

import dataclasses
import gc
import itertools
import threading
import time

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxadv.data import (
    batches,
    sources,
)
from jaxadv.specs import UsageError
from tests.data.made import toy

# validation splits


@settings(deadline=None, max_examples=30)
@given(
    labels=st.lists(st.integers(0, 3), min_size=4, max_size=60),
    fraction=st.floats(0.05, 0.95),
    seed=st.integers(0, 9),
)
def test_validation_is_disjoint_and_stratified(labels, fraction, seed):
    n, labels = len(labels), np.array(labels)
    count = int(np.clip(round(fraction * n), 1, n - 1))
    images = np.tile(
        np.arange(n, dtype=np.uint8)[:, None, None, None] + 2, (1, 1, 1, 1)
    )
    source = sources.from_arrays(images, labels, class_names="abcd")
    train, held_out = sources.split_train_validation(source, count, seed)
    assert (len(train), len(held_out)) == (n - count, count)
    rows = [p.get(np.arange(len(p)))["image"].ravel() - 2 for p in (train, held_out)]
    assert sorted(np.concatenate(rows)) == list(range(n))
    for part, row in zip((train, held_out), rows, strict=True):
        assert np.array_equal(part.labels, labels[row])
    for c in range(4):
        share = (labels == c).sum() * count / n
        assert abs((held_out.labels == c).sum() - share) < 1
    again = sources.split_train_validation(source, count, seed)[1]
    assert np.array_equal(again.get([0])["image"], held_out.get([0])["image"])


def test_validation_comes_from_training_data_only():
    with pytest.raises(UsageError, match="carved from training data"):
        sources.split_train_validation(toy(split="test"), 5, 0)
    for size in (0, 20, -1, 2.5, 1.5, float("nan")):
        with pytest.raises(UsageError, match="validation size"):
            sources.split_train_validation(toy(20), size, 0)
    train, held_out = sources.split_train_validation(toy(20), 0.25, 0)
    assert (train.split, held_out.split) == ("train", "validation")
    assert len(held_out) == 5
    other = sources.split_train_validation(toy(200), 0.25, 1)[1]
    same = sources.split_train_validation(toy(200), 0.25, 0)[1]
    assert not np.array_equal(
        other.get(np.arange(50))["image"], same.get(np.arange(50))["image"]
    )


# batches


def take(iterator, n):
    found = list(itertools.islice(iterator, n))
    iterator.close()
    return found


def test_resuming_goes_on_exactly():
    straight = take(batches.train_batches(toy(23), 4, 7), 20)
    for start in (0, 3, 5, 11, 17):
        resumed = take(batches.train_batches(toy(23), 4, 7, start), 3)
        for one, other in zip(straight[start:], resumed, strict=False):
            assert all(np.array_equal(one[k], other[k]) for k in ("image", "id"))


def test_an_epoch_shows_each_example_at_most_once():
    epochs = []
    found = take(batches.train_batches(toy(23), 4, 7), 15)
    assert batches.steps_per_epoch(toy(23), 4) == 5
    for epoch in range(3):
        ids = np.concatenate([b["id"] for b in found[5 * epoch : 5 * epoch + 5]])
        assert len(set(ids)) == 20 and ids.dtype == np.int32
        epochs.append(ids.tolist())
        order = np.random.default_rng((7, epoch)).permutation(23)
        assert order[:20].tolist() == ids.tolist()
    assert epochs[0] != epochs[1]
    for batch in found:
        assert np.array_equal(batch["image"][:, 0, 0, 0], batch["id"])
        assert np.array_equal(batch["label"], batch["id"] % 2)


@pytest.mark.parametrize("count", [2, 4])
def test_processes_share_out_the_batch(count):
    whole = take(batches.train_batches(toy(23), 8, 1), 5)
    parts = [
        take(
            batches.train_batches(toy(23), 8, 1, process_index=i, process_count=count),
            5,
        )
        for i in range(count)
    ]
    for step, batch in enumerate(whole):
        joined = np.concatenate([part[step]["id"] for part in parts])
        assert np.array_equal(joined, batch["id"])


@pytest.mark.parametrize("process", [0, 1])
def test_a_process_reads_its_own_images_only(process):
    """Not those of the others too, to throw them away."""
    read, whole = [], toy(24)

    def rows(ids, draw):
        read.extend(ids.tolist())
        return whole.read(ids, draw)

    source = dataclasses.replace(whole, read=rows)
    place = {"process_index": process, "process_count": 2}
    train = batches.train_batches(source, 8, 1, **place)
    for made in (train, batches.eval_batches(source, np.arange(24), 8, **place)):
        got = np.concatenate([batch["id"] for batch in take(made, 3)])
        made.close()
        # A few batches more have been made ahead.
        assert len(got) == 12 and read[:12] == got.tolist()
        assert len(read) <= 12 + 4 * 4
        read.clear()


@settings(deadline=None, max_examples=30)
@given(
    n=st.integers(1, 30),
    local=st.integers(1, 5),
    count=st.integers(1, 4),
    data=st.data(),
)
def test_evaluation_sees_every_id_once(n, local, count, data):
    ids = data.draw(st.permutations(range(40)))[:n]
    steps, seen = set(), []
    for i in range(count):
        found = list(
            batches.eval_batches(
                toy(40), ids, local * count, process_index=i, process_count=count
            )
        )
        steps.add(len(found))
        for batch in found:
            assert batch["id"].shape == (local,)
            assert np.array_equal(batch["valid"], batch["id"] >= 0)
            real = batch["valid"]
            assert np.array_equal(batch["image"][real, 0, 0, 0], batch["id"][real])
            assert (batch["image"][~real] == ids[0]).all()
            seen += batch["id"][real].tolist()
    assert seen == list(ids)
    assert len(steps) == 1


def test_bad_batches_are_refused():
    make = batches.train_batches
    for arguments, message in [
        ((toy(5), 6, 0), "within 1..5"),
        ((toy(5), 0, 0), "within 1..5"),
        ((toy(5), 2, -1), "seed is -1"),
        ((toy(5), 2, 0, -1), "start_step is -1"),
    ]:
        with pytest.raises(UsageError, match=message):
            make(*arguments)
    with pytest.raises(UsageError, match="multiple of the 2 processes"):
        make(toy(5), 3, 0, process_count=2)
    with pytest.raises(UsageError, match="multiple"):
        batches.eval_batches(toy(5), [0], 0)


def test_masks_and_random_crops_reach_the_batches():
    mask = np.arange(8).reshape(8, 1, 1, 1) % 2 * np.ones((8, 2, 2, 1), int)
    images = np.arange(8, dtype=np.uint8)[:, None, None, None] * np.ones(
        (8, 2, 2, 1), np.uint8
    )
    source = sources.from_arrays(images, np.zeros(8, int), mask=mask)
    (batch,) = take(batches.train_batches(source, 8, 0), 1)
    assert np.array_equal(batch["mask"][:, 0, 0, 0], batch["id"] % 2)
    draws = []
    read = lambda rows, draw: draws.append(draw) or source.read(rows, draw)  # noqa: E731
    spy = sources.dataclasses.replace(source, read=read)
    take(batches.train_batches(spy, 8, 3, 1), 1)
    assert draws[0] == (3, 1)
    draws.clear()
    list(batches.eval_batches(spy, [0], 1))
    assert draws == [None]


def test_floats_are_the_same_on_host_and_device():
    values = np.arange(256, dtype=np.uint8)
    host = batches.to_float(values)
    device = jax.jit(batches.to_float)(values)
    assert host.dtype == device.dtype == np.float32
    assert np.array_equal(host, device)
    assert np.array_equal(host, (values.astype(np.float64) / 255).astype(np.float32))
    assert np.array_equal(batches.to_float(host), host)


def prefetchers():
    return [t for t in threading.enumerate() if t.name == "prefetch" and t.is_alive()]


def test_the_prefetching_thread_ends():
    stream = batches.prefetch(itertools.count())
    assert [next(stream) for _ in range(5)] == [0, 1, 2, 3, 4]
    assert len(prefetchers()) == 1
    stream.close()
    assert not prefetchers()
    stream = batches.prefetch(itertools.count())
    next(stream)
    del stream
    gc.collect()
    assert not prefetchers()
    assert list(batches.prefetch(range(10))) == list(range(10))
    assert not prefetchers()


def test_the_prefetching_thread_works_ahead_but_not_far():
    made = []

    def items():
        for i in range(100):
            made.append(i)
            yield i

    stream = batches.prefetch(items(), depth=3)
    next(stream)
    deadline = time.monotonic() + 5
    while len(made) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert len(made) == 5  # one taken, three ready, one in hand
    stream.close()


def test_errors_of_the_thread_are_raised_in_turn():
    def items():
        yield 1
        raise RuntimeError("broken")

    stream = batches.prefetch(items())
    assert next(stream) == 1
    with pytest.raises(RuntimeError, match="broken"):
        next(stream)
    assert not prefetchers()
