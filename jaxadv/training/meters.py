"""What the machine does behind a training: waiting for data, and devices' memory."""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from jaxadv import parallel

OFTEN = 0.05  # the share of waiting from which on it is told in the epoch's line


class Waits:
    """The batches of an iterator, and how long was waited for them."""

    def __init__(self, batches: Iterator[Any]):
        self._batches, self._taken = batches, 0
        self._since, self._waited = None, 0.0

    def __iter__(self):
        return self

    def __next__(self):
        start = time.monotonic()
        batch = next(self._batches)
        self._taken += 1
        if self._taken > 1:  # the step behind the first one is mostly compilation
            self._since = start if self._since is None else self._since
            self._waited += time.monotonic() - start
        return batch

    def share(self) -> float:
        """Of the time since the last call, what was spent waiting for batches.

        It begins where the first batch behind that call was asked for, or the second
        batch of all; NaN where there was none.
        """
        if self._since is None:
            return np.nan
        seconds = time.monotonic() - self._since
        waited, self._since, self._waited = self._waited, None, 0.0
        return waited / max(seconds, 1e-9)


def read(waits: Waits) -> dict[str, float]:
    """The numbers of an epoch, on all processes; what is not known is left out.

    Returns:
      `data_wait`, the share of the epoch that the process which waited longest has
      waited for data; and `device_memory` and `device_memory_peak`, as
      `parallel.memory` has them.
    """
    shares = parallel.gather_rows(np.array([waits.share()]))
    share = np.fmax.reduce(shares)  # NaN where all of them are
    waited = {} if np.isnan(share) else {"data_wait": float(share)}
    return waited | parallel.memory()


def line(found: dict[str, float]) -> str:
    """What of these numbers belongs into the epoch's line."""
    share = found.get("data_wait", 0.0)
    return f"  data wait {100 * share:.0f}%" if share > OFTEN else ""
