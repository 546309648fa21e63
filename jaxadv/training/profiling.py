"""A trace of a few training steps, for TensorBoard's profiler or Perfetto."""

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from jaxadv import parallel
from jaxadv.files import storage
from jaxadv.specs import UsageError

STEPS = "10-15"


@dataclasses.dataclass(frozen=True)
class Profile:
    """Which steps are traced, and where the trace is written.

    Attributes:
      folder: of the trace.
      first: the first step, counted from 1 at this start; the first one of all is
        mostly compilation.
      last: the last step.
    """

    folder: Path
    first: int
    last: int


def asked(folder: str | None, steps: str | None) -> Profile | None:
    """What --profile and --profile_steps say, None without them.

    Raises:
      UsageError: they say nothing sensible, or the folder cannot be written.
    """
    if folder is None and steps is None:
        return None
    if not folder:
        raise UsageError("--profile: give the folder of the trace")
    match = re.fullmatch(r"(\d+)-(\d+)", steps or STEPS)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise UsageError(
            f"--profile_steps is {steps!r}; give the first and the last step, counted "
            f"from 1 at this start, as {STEPS}"
        )
    storage.check_folder(folder, "--profile")
    return Profile(Path(folder), int(match[1]), int(match[2]))


class Traced:
    """A training step; of some of its calls the first process writes a trace.

    Attributes:
      run: the step.
      profile: which calls, and where to; None: no trace.
      say: prints a line.
    """

    def __init__(
        self,
        run: Callable[..., Any],
        profile: Profile | None,
        say: Callable[[str], None],
    ):
        self._run, self._say = run, say
        self._profile = profile if parallel.is_primary() else None
        self._calls, self._tracing = 0, False

    def __call__(self, *args):
        if self._profile is None:
            return self._run(*args)
        self._calls += 1
        if self._calls == self._profile.first:
            jax.profiler.start_trace(self._profile.folder)
            self._tracing = True
        with jax.profiler.StepTraceAnnotation("train", step_num=self._calls):
            result = self._run(*args)
        if self._calls == self._profile.last:
            jax.block_until_ready(result)
            self._stop()
        return result

    def close(self) -> None:
        """Ends a trace that is not complete; says where there is none."""
        if self._tracing:
            self._stop()
        elif self._profile is not None and 0 < self._calls < self._profile.first:
            self._say(
                f"WARNING: --profile: this start has ended after {self._calls} steps, "
                f"before step {self._profile.first}: there is no trace; give "
                "--profile_steps"
            )

    def _stop(self):
        self._tracing = False
        jax.profiler.stop_trace()
        profile: Any = self._profile
        last = min(self._calls, profile.last)
        self._say(
            f"the trace of steps {profile.first} to {last} of this start is in "
            f"{profile.folder}"
        )
