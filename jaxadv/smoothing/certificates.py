"""Certificates of many images, one after the other; what is counted is kept."""

import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxadv import preemption
from jaxadv.craft.arguments import fit
from jaxadv.craft.journal import Journal
from jaxadv.smoothing import statistics
from jaxadv.smoothing.sampler import Sampler
from jaxadv.specs import UsageError


def certify(
    model: Any,
    key: jax.Array,
    images: np.ndarray,
    *,
    sigma: float,
    ids: np.ndarray | None = None,
    selection: int = 100,
    draws: int = 100_000,
    alpha: float = 0.001,
    batch_size: int = 1000,
    early: bool = False,
    journal: Journal | None = None,
    progress: Callable[[int], Any] = lambda draws: None,
) -> dict[str, np.ndarray]:
    """Certifies the smoothed network at images, on all of this process's devices.

    A certificate depends on the key, the image, its id, sigma and the counts of draws
    alone: not on the batch size, the other images, the devices or an interruption.
    Source: Cohen, Rosenfeld and Kolter, "Certified adversarial robustness via
    randomized smoothing", 2019, section 3.2.

    Args:
      model: a Classifier.
      key: of the run.
      images: [n, h, w, c] in [0, 1].
      sigma: the noise's deviation, in [0, 1] units.
      ids: [n] distinct ids; default 0 … n - 1.
      selection: draws that choose the class.
      draws: further draws that bound its probability.
      alpha: the probability that a certificate is wrong, at most.
      batch_size: draws at a time on each device.
      early: stop an image whose abstention is certain; see
        `statistics.abstains_for_sure`. No prediction, radius or alpha changes by it;
        votes, draws and lower bounds of the stopped images are smaller.
      journal: finished images and counts on the way are read from it and written.
      progress: told how many draws have just been made, or were found in the journal.

    Returns:
      Of `statistics.certify` the columns, each [n], and `seconds`: [n] float64.

    Raises:
      UsageError: an argument is not what it must be, or logits are not numbers.
    """
    for name, value in {"selection": selection, "draws": draws}.items():
        if value < 1:
            raise UsageError(f"certify: {name} is {value}; it must be at least 1")
    ends = (selection, selection + draws)

    def hopeless(done, votes):
        if not early or done < selection:
            return False
        chosen = votes[1, np.argmax(votes[0])]
        return statistics.abstains_for_sure(chosen, ends[-1] - done, draws, alpha)

    rows = _counted(
        model, key, images, ids, ends, sigma, batch_size, journal, progress, hopeless
    )
    votes = rows["votes"]
    found = statistics.certify(votes[:, 0], votes[:, 1], draws, alpha, sigma)
    return found | {"seconds": rows["seconds"]}


def predict(
    model: Any,
    key: jax.Array,
    images: np.ndarray,
    *,
    sigma: float,
    ids: np.ndarray | None = None,
    draws: int = 100,
    alpha: float = 0.001,
    batch_size: int = 1000,
    journal: Journal | None = None,
    progress: Callable[[int], Any] = lambda draws: None,
) -> np.ndarray:
    """What the smoothed network says of images, [n] classes, -1 where it abstains.

    With one draw nothing is tested and it never abstains. Source: as `certify`, the
    algorithm PREDICT.

    Args:
      model: a Classifier.
      key: of the run; not one that the images were attacked with.
      images: [n, h, w, c].
      sigma: the noise's deviation, in [0, 1] units.
      ids: [n] distinct ids; default 0 … n - 1.
      draws: of noise for each image.
      alpha: the probability that an answer is not the smoothed network's, at most.
      batch_size: draws at a time on each device.
      journal: as of `certify`.
      progress: as of `certify`.

    Raises:
      UsageError: as `certify`.
    """
    if draws < 1:
        raise UsageError(f"predict: draws is {draws}; it must be at least 1")
    rows = _counted(
        model, key, images, ids, (draws,), sigma, batch_size, journal, progress
    )
    votes = rows["votes"][:, 0]
    if draws == 1:
        return np.argmax(votes, axis=-1).astype(np.int32)
    return statistics.predict(votes, alpha)


def _counted(
    model, key, images, ids, ends, sigma, batch_size, journal, progress,
    hopeless=lambda done, votes: False,
):  # fmt: skip
    """Votes [n, samples, classes] of all images, and the seconds that they took.

    `hopeless(done, votes)` says of an image that the draws left need not be made.
    """
    if not sigma > 0:
        raise UsageError(f"sigma is {sigma}; it must be above 0")
    ids = np.arange(len(images)) if ids is None else np.asarray(ids)
    sampler = Sampler(model, sigma, batch_size)
    rows = _empty(len(images), len(ends), fit(model, images.shape[1:]))
    for row, leaves in (journal.load(ids, rows) if journal else {}).items():
        for column, value in zip(jax.tree.leaves(rows), leaves, strict=True):
            column[row] = value
    for row in range(len(images)):
        image, example, last = images[row], int(ids[row]), ends[-1]
        first, before = int(rows["done"][row]), float(rows["seconds"][row])
        progress(first)
        began = kept = time.perf_counter()
        if first < last and not hopeless(first, rows["votes"][row]):
            for done, votes in sampler.counts(key, image, example, ends, first):
                progress(done - int(rows["done"][row]))
                now = time.perf_counter()
                rows["votes"][row] += votes
                rows["done"][row] = done
                rows["seconds"][row] = before + now - began
                if hopeless(done, rows["votes"][row]):
                    break
                if journal and now - kept > _EVERY:
                    _keep(journal, ids, rows, row)
                    kept = now
                if preemption.asked():
                    if journal:
                        _keep(journal, ids, rows, row)
                        journal.flush()
                    preemption.stop_if_asked()
            if journal:
                _keep(journal, ids, rows, row)
        progress(last - int(rows["done"][row]))  # what need not be drawn
    if journal:
        journal.flush()
    return rows


_EVERY = 5.0  # seconds after which the counts of an unfinished image are kept


def _empty(n, samples, classes):
    return {
        "done": np.zeros(n, np.int64),
        "seconds": np.zeros(n, np.float64),
        "votes": np.zeros((n, samples, classes), np.int64),
    }


def _keep(journal, ids, rows, row):
    one = slice(row, row + 1)
    journal.write(ids[one], {name: column[one] for name, column in rows.items()})
