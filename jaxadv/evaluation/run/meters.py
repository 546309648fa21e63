"""What a long evaluation shows and measures of itself: progress and time."""

import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import jax
from tqdm import tqdm

from jaxadv.evaluation.writing import files
from jaxadv.training import log


class Progress:
    """A bar on a terminal, a line every few seconds elsewhere.

    It shows the largest accuracy that is still possible: images are finished in the
    order in which they break, so an accuracy over the finished ones would mislead.
    """

    def __init__(
        self,
        label: str,
        total: int,
        wrong: int = 0,
        *,
        stream: TextIO | None = None,
        every_seconds: float = 10.0,
    ):
        """Counts to `total` attacked images, beside `wrong` that were not attacked."""
        self._label, self._total, self._wrong = label, total, wrong
        self._stream = stream or sys.stderr
        self._every, self._spoken = every_seconds, time.monotonic()
        self._done = self._broken = 0
        self._bar: Any = None
        if self._stream.isatty():
            self._bar = tqdm(
                total=total, desc=label, unit="image", file=self._stream, leave=False
            )

    def update(self, done: int, broken: int) -> None:
        """Adds `done` finished images, `broken` of them with success."""
        self._done += done
        self._broken += broken
        if self._bar is not None:
            self._bar.set_postfix_str(f"accuracy <= {self._bound():.1f} %")
            self._bar.update(done)
        elif time.monotonic() - self._spoken > self._every:
            self._spoken = time.monotonic()
            self._say()

    def close(self) -> None:
        """Removes the bar, or says the last line."""
        if self._bar is not None:
            self._bar.close()
        else:
            self._say()

    def _bound(self):
        broken, n = self._wrong + self._broken, self._wrong + self._total
        return 100 * (1 - broken / max(n, 1))

    def _say(self):
        print(
            f"{self._label}: {self._done}/{self._total} images, "
            f"accuracy <= {self._bound():.1f} %",
            file=self._stream,
            flush=True,
        )


class Stage:
    """Lines of what counts no images: one as it begins, others where it takes long."""

    def __init__(self, label: str, begins: str, every_seconds: float = 5.0):
        """Says that the stage `label` begins."""
        self._label, self._every = label, every_seconds
        self._say(begins)

    def __call__(self, what: str) -> None:
        """Says what comes now, where the last line is a while ago."""
        if time.monotonic() - self._spoken > self._every:
            self._say(what)

    def _say(self, text):
        self._spoken = time.monotonic()
        tqdm.write(f"{self._label}: {text}", file=sys.stderr)
        sys.stderr.flush()


def unsaid(label: str, begins: str) -> Callable[[str], None]:
    """A stage that says nothing."""
    return lambda what: None


class Stopwatch:
    """Seconds inside a `with` block, and how many of them went into compiling.

    Tracing, lowering and backend compilation count as compiling; nested and
    parallel ones count once. That something is compiled is said once, beside a bar if
    there is one.
    """

    def __init__(self, label: str, quiet: bool = False):
        """Of the stage `label`; a quiet one says nothing."""
        self._label, self._said = label, quiet

    def __enter__(self) -> "Stopwatch":
        self._spans: list[tuple[float, float]] = []
        self.programs = 0
        self._stop_hearing = log.on_compile(self._say)
        jax.monitoring.register_event_duration_secs_listener(self._hear)
        self._start = time.time()
        return self

    def __exit__(self, *error):
        self.seconds = time.time() - self._start
        jax.monitoring.unregister_event_duration_listener(self._hear)
        self._stop_hearing()

    def _say(self):
        if not self._said:
            self._said = True
            tqdm.write(f"{self._label}: compiling …", file=sys.stderr)
            sys.stderr.flush()

    def _hear(self, event: str, duration_secs: float, **kwargs):
        if not event.startswith("/jax/core/compile/"):
            return
        self.programs += event.endswith("backend_compile_duration")
        now = time.time()
        self._spans.append((now - duration_secs, now))

    @property
    def compile_seconds(self) -> float:
        """The length of the union of the compile spans."""
        total, reached = 0.0, -float("inf")
        for start, end in sorted(self._spans):
            total += max(0.0, end - max(start, reached))
            reached = max(reached, end)
        return total


class Account:
    """Seconds that the results in a folder have taken over all runs, kept in it.

    Those of a run that was killed count up to the last results that reached the disk:
    the rest was done again.
    """

    def __init__(self, folder: Path | None):
        """Without a folder it keeps nothing."""
        name = f"seconds-{jax.process_index():03d}.json"
        self._path = None if folder is None else folder / name
        self._start = time.monotonic()
        self._before: float | None = 0.0

    def take_over(self) -> None:
        """Earlier runs' results are used: their seconds count, if they are known."""
        self._before = None
        if self._path is None:
            return
        try:
            found = json.loads(self._path.read_text("utf-8"))["seconds"]
        except (OSError, ValueError, KeyError, TypeError):
            return
        if isinstance(found, (int, float)) and 0 <= found < math.inf:
            self._before = float(found)

    def keep(self, seconds: float | None = None) -> float | None:
        """Adds what this run has taken, `seconds` or the time so far, and keeps it.

        Returns:
          The seconds of all runs; None where earlier ones did not keep theirs.
        """
        if self._before is None:
            return None
        spent = time.monotonic() - self._start if seconds is None else seconds
        if self._path and self._path.parent.is_dir():  # there are results
            files.write_json(self._path, {"seconds": self._before + spent})
        return self._before + spent

    @property
    def before(self) -> float | None:
        """The seconds of earlier runs whose results are used; None if unknown."""
        return self._before
