"""A second source in every batch."""

import itertools

import numpy as np
import pytest

from jaxadv.data import shares, sources
from jaxadv.specs import UsageError

MAIN, EXTRA, BATCH = 20, 30, 8


def source(n, low):
    """Images that say which they are, of 8 bits."""
    images = (
        np.full((n, 1, 1, 1), low, np.uint8)
        + np.arange(n, dtype=np.uint8)[:, None, None, None]
    )
    return sources.from_arrays(images, np.arange(n) % 3, class_names="abc")


def some(steps, start=0, index=0, count=1, share=0.7):
    found = shares.train_batches(
        source(MAIN, 0), source(EXTRA, 100), share, BATCH, 5, start,
        process_index=index, process_count=count,
    )  # fmt: skip
    return list(itertools.islice(found, steps))


def test_every_batch_has_its_shares():
    """0.7 of 8 is 6: ids beyond the first set belong to the second, and its images."""
    for batch in some(12):
        second = batch["id"] >= MAIN
        assert second.sum() == 6 and len(batch["id"]) == BATCH
        assert batch["image"].dtype == np.uint8
        value = batch["image"].ravel().astype(int)
        expected = np.where(second, 100 + batch["id"] - MAIN, batch["id"])
        np.testing.assert_array_equal(value, expected)
        own = np.where(second, batch["id"] - MAIN, batch["id"]) % 3
        np.testing.assert_array_equal(batch["label"], own)


def test_each_source_is_gone_through_whole():
    """20 images two a step, 30 images six a step: 10 and 5 steps, then anew."""
    ids = np.concatenate([batch["id"] for batch in some(20)])
    main, extra = ids[ids < MAIN], ids[ids >= MAIN] - MAIN
    for seen, n in ((main, MAIN), (extra, EXTRA)):
        passes = seen.reshape(-1, n)
        assert all(sorted(one) == list(range(n)) for one in passes)
        assert not np.array_equal(passes[0], passes[1])


def test_a_later_start_and_several_processes_give_the_same():
    whole = some(9)
    for batch, again in zip(whole[4:], some(5, start=4), strict=True):
        for name in batch:
            np.testing.assert_array_equal(batch[name], again[name])
    parts = [some(9, index=i, count=2) for i in range(2)]
    for batch, *both in zip(whole, *parts, strict=True):
        for name in batch:
            joined = np.concatenate([part[name] for part in both])
            np.testing.assert_array_equal(batch[name], joined)
        for part in both:  # and each has its share
            assert np.sum(part["id"] >= MAIN) == 3


@pytest.mark.parametrize("share", [0.01, 0.99])
def test_a_batch_needs_both(share):
    with pytest.raises(UsageError, match="config.data.extra_share is 0"):
        shares.pattern(8, share)


def test_a_part_is_no_larger_than_its_source():
    with pytest.raises(UsageError, match="batch_size is 6"):
        shares.train_batches(source(20, 0), source(5, 0), 0.7, 8, 0)


def test_images_of_two_kinds_become_floats():
    floats = sources.from_arrays(
        np.full((9, 1, 1, 1), 0.5, np.float32), np.arange(9) % 3, class_names="abc"
    )
    batch = next(shares.train_batches(source(9, 51), floats, 0.5, 4, 0))
    second = batch["id"] >= 9
    assert batch["image"].dtype == np.float32 and np.all(batch["image"][second] == 0.5)
    np.testing.assert_allclose(
        batch["image"][~second].ravel(), (51 + batch["id"][~second]) / 255, rtol=1e-6
    )
