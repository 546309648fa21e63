"""What a run tells: metrics.jsonl, TensorBoard, and lines or a bar on the terminal.

TensorBoard has the numbers of metrics.jsonl, in the run's folder `tensorboard`, as
`train/NAME` every `config.log_steps` steps and as `epoch/NAME` behind each epoch:

    tensorboard --logdir runs
"""

import contextlib
import functools
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from tqdm import tqdm

from jaxadv.files import storage
from jaxadv.specs import UsageError

FILE = "metrics.jsonl"
# What two runs of one config differ in: it hangs on the machine.
TIMED = ("images_per_second", "data_wait", "device_memory", "device_memory_peak")
# A program goes to the compiler when it has been lowered; one that took this many
# seconds will keep the compiler busy for far longer.
_LOWERED, _LONG = "/jax/core/compile/jaxpr_to_mlir_module_duration", 0.05
_FLUSH_SECONDS = 10.0  # between two looks that TensorBoard can take


class Writer:
    """Appends metrics to `metrics.jsonl`, one JSON object a line, and TensorBoard.

    On opening, lines of steps after `resumed` are dropped, so that a run that was
    killed and resumed leaves the lines of an uninterrupted one.

    Attributes:
      folder: the run's folder; it exists.
      resumed: the last step that is kept.
      others: are told and closed too, as `wandb_writer.Writer`.
    """

    def __init__(
        self, folder: str | os.PathLike, resumed: int = 0, others: Sequence[Any] = ()
    ):
        self._path = Path(folder) / FILE
        _truncate(self._path, resumed)
        with storage.naming(self._path):
            self._file = open(self._path, "a", encoding="utf-8")
        self._boards = [*_tensorboard(Path(folder) / "tensorboard", resumed), *others]

    def write(self, step: int, kind: str, values: Mapping[str, Any]) -> None:
        """Adds one line `{"step": …, "kind": …, **values}`, on disk on return."""
        with storage.naming(self._path):
            self._file.write(json.dumps({"step": step, "kind": kind, **values}) + "\n")
            self._file.flush()
        for board in self._boards:
            board.write(step, kind, values)

    def close(self) -> None:
        """Closes the files."""
        with contextlib.ExitStack() as stack:
            for board in self._boards:
                stack.callback(board.close)
            with storage.naming(self._path):
                self._file.close()


def read(folder: str | os.PathLike) -> list[dict[str, Any]]:
    """The lines of a run's `metrics.jsonl`, without an unfinished last one.

    Raises:
      UsageError: it holds a line that `Writer` has not written.
    """
    path = Path(folder) / FILE
    if not path.exists():
        return []
    rows = []
    # After a kill the last line may lack its end.
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], 1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict) or not isinstance(row.get("step"), int):
            raise UsageError(
                f"{path}: line {number} is none that training has written; remove it"
            )
        rows.append(row)
    return rows


def timeless(folder: str | os.PathLike) -> list[dict[str, Any]]:
    """The lines of `read`, without what hangs on the machine."""
    return [{k: v for k, v in row.items() if k not in TIMED} for row in read(folder)]


def _truncate(path, resumed):
    if not path.exists():
        return
    rows = [row for row in read(path.parent) if row["step"] <= resumed]
    with storage.replacing(path) as temporary:
        text = "".join(json.dumps(row) + "\n" for row in rows)
        temporary.write_text(text, "utf-8")


def _tensorboard(folder, resumed):
    try:
        return [_Board(folder, resumed)]
    except ImportError:
        return []


class _Board:
    """A TensorBoard file, written by the caller's own thread.

    tensorboardX's SummaryWriter writes from another one, whose errors are lost: on a
    full disk the next values would wait for it for ever.
    """

    def __init__(self, folder, resumed):
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto import event_pb2
        from tensorboardX.summary import scalar

        proto: Any = event_pb2  # whose names are made when it is imported
        self._folder, self._event, self._scalar = folder, proto.Event, scalar
        self._flushed = time.monotonic()
        with storage.naming(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._file = EventsWriter(str(folder / "events"))
            # What an earlier start has written of later steps is not shown.
            start = proto.SessionLog(status=proto.SessionLog.START)
            self._add(step=resumed + 1, file_version="brain.Event:2")
            self._add(step=resumed + 1, session_log=start)

    def write(self, step, kind, values):
        with storage.naming(self._folder):
            for name, value in values.items():
                if isinstance(value, (int, float)):
                    self._add(step=step, summary=self._scalar(f"{kind}/{name}", value))
            if time.monotonic() - self._flushed > _FLUSH_SECONDS:
                self._file.flush()
                self._flushed = time.monotonic()

    def close(self):
        with storage.naming(self._folder):
            self._file.close()

    def _add(self, **fields):
        self._file.write_event(self._event(wall_time=time.time(), **fields))


class Progress:
    """The pace of a run: a bar on a terminal, else a line now and then.

    Attributes:
      total: steps of the whole run.
      done: steps before this start.
      images: images of a step.
      enabled: whether this process talks.
    """

    def __init__(self, total: int, done: int, images: int, enabled: bool = True):
        self._total, self._first, self._done = total, done, done
        self._images, self._enabled = images, enabled
        self._start = self._said = time.monotonic()
        self._paused, self._compiled = 0.0, False
        self._bar, self._compiling_at = None, -1
        self._made: set[str] = set()
        self._making = False
        if enabled and sys.stderr.isatty():
            self._bar = tqdm(total=total, initial=done, unit="step", leave=False)
        self._stop_hearing = on_compile(self._say_compiling)

    def advance(self, values: Mapping[str, float] | None = None) -> None:
        """One step is done; `values` are the latest known metrics."""
        self._done += 1
        if not self._compiled:
            # The first step is mostly compilation.
            self._compiled, self._first = True, self._done
            self._start = time.monotonic()
        if self._bar is not None:
            self._bar.update(1)
            if values:
                self._bar.set_postfix({k: f"{v:.3f}" for k, v in values.items()})
        elif self._enabled and time.monotonic() - self._said > 30:
            self._said = time.monotonic()
            shown = " ".join(f"{k} {v:.3f}" for k, v in (values or {}).items())
            line = f"step {self._done}/{self._total}  {shown}"
            print(f"{line}  {self.pace()}", flush=True)

    def pause(self, seconds: float) -> None:
        """Leaves `seconds`, as of a validation, out of the pace."""
        self._paused += seconds

    @property
    def images_per_second(self) -> float:
        """Training images a second since this start, compilation left out."""
        seconds = time.monotonic() - self._start - self._paused
        return (self._done - self._first) * self._images / max(seconds, 1e-9)

    def pace(self, more: str = "") -> str:
        """The pace in words, with `more` behind it, and the time that is left."""
        rate = f"{self.images_per_second:.0f} images/s"
        return f"{rate}{more}  eta {clock(self.seconds_left)}"

    @property
    def seconds_left(self) -> float:
        """At the pace so far, validations included."""
        seconds = time.monotonic() - self._start
        pace = seconds / max(self._done - self._first, 1)
        return (self._total - self._done) * pace

    def say(self, line: str) -> None:
        """Prints a line above the bar."""
        if self._enabled:
            tqdm.write(line, file=sys.stdout)
            sys.stdout.flush()

    def close(self) -> None:
        """Removes the bar."""
        self._stop_hearing()
        if self._bar is not None:
            self._bar.close()

    @contextlib.contextmanager
    def making(self, what: str) -> Iterator[None]:
        """Says that `what` is compiled, as it is where it is called first."""
        if what in self._made:
            yield
            return
        self._made.add(what)
        self.say(f"compiling {what} …")
        self._making = True
        try:
            self._describe("compiling …")
            yield
        finally:
            self._making = False
            self._describe("")

    def _describe(self, text):
        if self._bar is not None:
            self._bar.set_description_str(text)

    def _say_compiling(self):
        """Tells of a program that `making` has not foreseen."""
        if not self._making and self._compiling_at != self._done:
            self._compiling_at = self._done
            self.say(f"step {self._done}/{self._total}  compiling …")


def on_compile(say: Callable[[], None]) -> Callable[[], None]:
    """Calls `say` before each compilation that will take a while.

    Returns:
      What ends it, to be called once.
    """

    def hear(event, duration_secs, **kwargs):
        if event == _LOWERED and duration_secs > _LONG:
            say()

    jax.monitoring.register_event_duration_secs_listener(hear)
    return functools.partial(jax.monitoring.unregister_event_duration_listener, hear)


def epoch_line(
    epoch: str, means: Mapping[str, float], scores: Mapping[str, float]
) -> str:
    """The line of an epoch, up to its pace.

    Args:
      epoch: its number, of how many.
      means: of the training's metrics.
      scores: of the validation.
    """
    return (
        f"epoch {epoch}  loss {means['loss']:.4f}  "
        f"train robust {_percent(means, 'robust_accuracy')} "
        f"clean {_percent(means, 'clean_accuracy')}  "
        f"val clean {_percent(scores, 'clean')} robust {_percent(scores, 'robust')}"
    )


def overfitting(scores: Mapping[str, float], best: float | None) -> str:
    """What is said where a training has lost the robustness that it had at `best`."""
    return (
        "WARNING: catastrophic overfitting: robust validation accuracy fell "
        f"to {_percent(scores, 'robust')} from {_percent({'best': best}, 'best')} "
        "while the clean one did not; train with more attack steps or fewer epochs"
    )


def _percent(values, name):
    return f"{100 * values[name]:.1f}%" if name in values else "-"


def clock(seconds: float) -> str:
    """`seconds` as h:mm:ss, or m:ss below an hour."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
