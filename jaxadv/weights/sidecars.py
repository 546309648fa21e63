"""What stands beside a weight file: NAME.json for NAME.pt, for what the file lacks.

{"arch": "wrn_28_10", "normalization": "none",
 "golden": {"seed": 0, "shape": [2, 32, 32, 3], "logits": [[…], […]]}}
"""

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxadv import specs
from jaxadv.weights import normalizations

_KEYS = ("arch", "normalization", "golden")
TOLERANCE = 1e-3  # of the largest golden logit, or of 1


@dataclasses.dataclass(frozen=True)
class Golden:
    """Logits that a network gave where it came from.

    Attributes:
      seed: of the images, `np.random.default_rng(seed).random(shape, np.float32)`.
      shape: [n, h, w, c] of these images in [0, 1].
      logits: [n, classes].
    """

    seed: int
    shape: tuple[int, ...]
    logits: np.ndarray

    @classmethod
    def of(cls, given: Any, where: str) -> "Golden":
        """From the JSON of a file.

        Raises:
          UsageError: it is something else.
        """
        try:
            seed, shape = int(given["seed"]), tuple(map(int, given["shape"]))
            logits = np.array(given["logits"], np.float64)
        except (KeyError, TypeError, ValueError):
            seed, shape, logits = -1, (), np.zeros(())
        good = logits.ndim == 2 and len(shape) == 4 and shape[0] == len(logits)
        if seed < 0 or not good or not np.all(np.isfinite(logits)):
            raise specs.UsageError(
                f'{where}: golden must be {{"seed": 0, "shape": [n, h, w, c], "logits":'
                " [n, classes]}, of np.random.default_rng(seed).random(shape, "
                "np.float32)"
            )
        return cls(seed, shape, logits)

    @classmethod
    def made(
        cls, run: Callable[[np.ndarray], Any], image_shape: tuple[int, ...], n: int = 2
    ) -> "Golden":
        """Of what a network `run` gives for images [n, h, w, c]."""
        made = cls(0, (n, *image_shape), np.zeros((n, 1)))
        return dataclasses.replace(made, logits=np.asarray(run(made.images())))

    def images(self) -> np.ndarray:
        """[n, h, w, c] float32."""
        return np.random.default_rng(self.seed).random(self.shape, np.float32)

    def check(self, found: Any, where: str) -> None:
        """Compares the logits [n, classes] that the network gives here.

        Raises:
          UsageError: they are others.
        """
        found = np.asarray(found, np.float64)
        if found.shape != self.logits.shape:
            raise specs.UsageError(
                f"{where}: the network has {found.shape[-1]} classes, its golden "
                f"logits {self.logits.shape[-1]}"
            )
        off = float(np.max(np.abs(found - self.logits)))
        limit = TOLERANCE * max(1.0, float(np.max(np.abs(self.logits))))
        if not off <= limit:  # NaN is off
            raise specs.UsageError(
                f"{where}: its logits are up to {off:.3g} away from the golden ones "
                f"(allowed: {limit:.3g}): the architecture, the normalization or the "
                "weights are not those that they were made with"
            )

    def json(self) -> dict[str, Any]:
        """What `of` takes."""
        shape, logits = list(self.shape), self.logits.tolist()
        return {"seed": self.seed, "shape": shape, "logits": logits}


@dataclasses.dataclass(frozen=True)
class Sidecar:
    """What stands beside a weight file; None where it says nothing.

    Attributes:
      arch: a name of `layouts.NAMES`.
      statistics: mean and standard deviation.
      golden: logits to compare with.
    """

    arch: str | None = None
    statistics: normalizations.Statistics | None = None
    golden: Golden | None = None


def read(path: Path) -> Sidecar:
    """The sidecar of a weight file; one that says nothing where there is none.

    Raises:
      UsageError: it is damaged or has other entries.
    """
    place = path.with_suffix(".json")
    if not place.is_file():
        return Sidecar()
    try:
        given = json.loads(place.read_text())
    except (OSError, ValueError) as error:
        raise specs.UsageError(f"{place} is damaged or no JSON: {error}") from None
    if not isinstance(given, Mapping):
        raise specs.UsageError(f"{place} must hold a JSON object of {_KEYS}")
    specs.known(given, dict.fromkeys(_KEYS), str(place))
    arch, golden = given.get("arch"), given.get("golden")
    if not isinstance(arch, str | None):
        raise specs.UsageError(f"{place}: arch is {arch!r}; give the name of one")
    statistics = given.get("normalization")
    if statistics is not None:
        field = f"{place}: normalization"
        statistics = normalizations.statistics(statistics, field)
    golden = None if golden is None else Golden.of(golden, str(place))
    return Sidecar(arch, statistics, golden)
