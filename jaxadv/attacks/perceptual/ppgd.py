"""Perceptual projected gradient descent."""

from typing import Any

import jax

from jaxadv import specs, struct
from jaxadv.attacks import base
from jaxadv.attacks.gradient.ascent import SCHEDULES, Ascent
from jaxadv.objectives import OBJECTIVES, Margin
from jaxadv.threats import THREATS
from jaxadv.threats.lpips import LpipsBall


@struct.dataclass
class Ppgd:
    """PPGD: steepest ascent in an LPIPS ball, each step of one LPIPS length.

    It is `Ascent` in a `threats.LpipsBall`, which gives the steepest direction and
    the projection, with the paper's settings as defaults and all of it computed at
    the highest matrix-multiplication precision, so that a self-bounded attack runs
    the network once where objective and distance ask for the same point.

    Source: Laidlaw, Singla and Feizi, "Perceptual adversarial robustness: defense
    against unseen threat models", 2021, algorithm 1. Step size and `kappa` are not
    in the paper; they are those of the authors' code.

    Attributes:
      threat: an LpipsBall.
      objective: what to make larger.
      steps: gradient steps of one restart.
      rel_step_size: length of a step as a fraction of eps; None for 2 / steps.
      restarts: independent random starts; the first success is kept.
      schedule: how the step shrinks; see `Ascent`.
      keep: "best" returns the most broken point visited, "last" the last one.
      early_stop: stop at the first success.
    """

    threat: Any = specs.part(lambda: THREATS)
    objective: Any = specs.part(lambda: OBJECTIVES, Margin(1.0))
    steps: int = specs.static(40, minimum=0)
    rel_step_size: float | None = specs.leaf(None, minimum=0.0)
    restarts: int = specs.static(1, minimum=1)
    schedule: str = specs.static("constant", choices=tuple(SCHEDULES))
    keep: str = specs.static("best", choices=("best", "last"))
    early_stop: bool = specs.static(True)

    def __post_init__(self):
        specs.check(self)
        base.check_threat(self, LpipsBall)

    @property
    def passes(self) -> tuple[int, int]:
        """Forward passes, backward passes of a step; a linear pass counts as one."""
        threat = self.threat
        newton = threat.newton_steps if threat.projection == "newton" else 0
        forward = 2 + threat.cg_steps + newton + threat.bisection_steps + 1
        return forward, 1 + threat.cg_steps + newton

    def init(
        self, key: jax.Array, model: Any, image: jax.Array, label: jax.Array
    ) -> Any:
        return self._run(Ascent.init, key, model, image, label)

    def step(self, state: Any, model: Any, image: jax.Array, label: jax.Array) -> Any:
        return self._run(Ascent.step, state, model, image, label)

    def finish(self, state: Any, model: Any, image: jax.Array, label: jax.Array) -> Any:
        return self._run(Ascent.finish, state, model, image, label)

    def _run(self, method, *arguments):
        size = self.rel_step_size
        if size is None:
            size = 2 / max(self.steps, 1)
        ascent = Ascent(
            threat=self.threat,
            objective=self.objective,
            steps=self.steps,
            rel_step_size=size,
            schedule=self.schedule,
            keep=self.keep,
            early_stop=self.early_stop,
        )
        with jax.default_matmul_precision("highest"):
            return method(ascent, *arguments)
