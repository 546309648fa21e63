"""Pictures of an evaluation: accuracy against eps, and adversarial images."""

import math
import os
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxadv import extras
from jaxadv.evaluation.writing.cells import budget
from jaxadv.evaluation.writing.escape import drawn
from jaxadv.files import storage

BLUE, ORANGE, GRAY = "#0072B2", "#D55E00", "#555555"  # told apart by everyone
_FATES = {"broken": ORANGE, "withstood": BLUE, "left the budget": GRAY}
_NORMS = {
    "linf": r"$\ell_\infty$",
    "l2": r"$\ell_2$",
    "l1": r"$\ell_1$",
    "l0": r"$\ell_0$",
}
_FACTORS = (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, 15, 20, 30, 50, 100, 200, 500, 1000)


def curve(
    points: Sequence[Mapping[str, Any]],
    path: str | os.PathLike,
    *,
    attack: str,
    threat: str,
    dataset: str,
    classes: int,
    eps: float | None = None,
) -> None:
    """Draws accuracy against eps with its Wilson 95 % band.

    Args:
      points: dictionaries of eps, accuracy, low, high and n, fractions; see
        `metrics.curve`. The first one is the clean accuracy, at eps 0.
      path: the PNG to write.
      attack: named in the title.
      threat: registry name of the threat, for the axis.
      dataset: named in the title.
      classes: chance level is 1 / classes.
      eps: the suite's own budget, marked by a vertical line, wherever the points end.
    """
    plt = pyplot()
    x = np.array([p["eps"] for p in points])
    y, low, high = (
        100 * np.array([p[k] for p in points]) for k in ("accuracy", "low", "high")
    )
    figure, axes = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
    axes.fill_between(
        x, low, high, color=BLUE, alpha=0.2, lw=0, label="Wilson 95 % interval"
    )
    axes.plot(x, y, "o-", color=BLUE, ms=5, label="accuracy under attack")
    clean = f"clean accuracy, {y[0]:.1f} %"
    axes.plot(
        x[:1], y[:1], "D", color=ORANGE, ms=8, label=clean, zorder=3, clip_on=False
    )
    chance = 100 / classes
    axes.axhline(
        chance, color=GRAY, ls="--", lw=1.2, label=f"chance level, {chance:.3g} %"
    )
    if eps is not None:
        axes.axvline(
            eps,
            color=GRAY,
            ls=":",
            lw=1.2,
            label=f"eps of the suite, {budget(eps, threat)}",
        )
    axes.set_xlim(0, max(x[-1], eps or 0) * 1.02)
    axes.set_ylim(0, 102)
    axes.set_xlabel(f"budget eps ({_unit(threat)})")
    axes.set_ylabel("accuracy (%)")
    title = f"{attack} on {dataset}, {points[0]['n']} images"
    axes.set_title(drawn(wrapped(title, 70)), fontsize=11)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=9, framealpha=0.9)
    write(figure, path)


def certified(
    curve: tuple[np.ndarray, np.ndarray], path: str | os.PathLike, *, title: str
) -> None:
    """Draws the certified accuracy against the l2 radius.

    Args:
      curve: ascending radii and the accuracy up to each, fractions.
      path: the PNG to write.
      title: above it.
    """
    plt = pyplot()
    radii, share = curve
    figure, axes = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
    end = 1.05 * max(radii[-1], 1e-3)
    x, y = np.append(radii, end), np.append(100 * share, 0.0)
    axes.step(x, y, where="pre", color=BLUE)
    axes.set_xlim(0, end)
    axes.set_ylim(0, 102)
    axes.set_xlabel(r"$\ell_2$ radius, pixel values in [0, 1]")
    axes.set_ylabel("certified accuracy (%)")
    axes.set_title(drawn(wrapped(title, 70)), fontsize=11)
    axes.grid(alpha=0.3)
    write(figure, path)


def _unit(threat):
    if threat in ("linf", "l2", "l1"):
        return f"{_NORMS[threat]} norm, pixel values in [0, 1]"
    if threat == "l0":
        return f"{_NORMS[threat]}, changed values"
    return f"{drawn(threat)}, in its own unit"


def grid(
    pictures: Any,
    path: str | os.PathLike,
    *,
    title: str,
    factor: float | None = None,
    class_names: Sequence[str] | None = None,
) -> None:
    """Draws originals, adversarial images and their magnified differences.

    Each adversarial image says whether it broke or withstood, in words and by the
    color of its frame. Where a saliency network has looked at it, a fourth row shows
    where, in red, and the foreground's share before and after.

    Args:
      pictures: a `pictures.Pictures` of k >= 1 images [k, h, w, c].
      path: the PNG to write.
      title: over the images.
      factor: magnifies the differences; None: the largest that clips none of these.
        Grids that are compared share one.
      class_names: names in place of the numbers of the classes.
    """
    plt = pyplot()
    change = pictures.adversarials - pictures.images
    alone = factor is None
    factor = magnification(change) if factor is None else factor
    shown = np.clip(0.5 + factor * change, 0, 1)
    shared = "" if alone else "\nin all grids"
    rows = [
        ("original\nlabel", pictures.images),
        ("adversarial\nlabel → prediction", pictures.adversarials),
        (f"difference × {factor:g}{shared}\ngray: no change", shown),
    ]
    if pictures.looks is not None:
        name = "where people look\nforeground's share"
        rows.append((name, _over(pictures.adversarials, pictures.looks)))
    count = len(pictures.ids)
    width = 1.35 * count + 1.6
    figure, cells = plt.subplots(
        len(rows),
        count,
        figsize=(width, 5.8 / 3 * len(rows)),
        squeeze=False,
        layout="constrained",
    )
    for r, (name, images) in enumerate(rows):
        for k in range(count):
            draw_image(cells[r, k], images[k])
            caption = drawn(_caption(pictures, r, k, class_names))
            color = _FATES[_fate(pictures, k)] if r == 1 else "black"
            cells[r, k].set_title(caption, fontsize=10, color=color)
            if r == 1:
                for side in cells[r, k].spines.values():
                    side.set(color=color, linewidth=2)
        cells[r, 0].set_ylabel(
            name, rotation=0, ha="right", va="center", fontsize=10, labelpad=8
        )
    figure.suptitle(drawn(wrapped(title, int(11 * width))), fontsize=11)
    write(figure, path)


def _over(images, looks):
    """Images [k, h, w, 3] in gray, red where most looks fall [k, h, w]."""
    gray = np.mean(images, axis=-1, keepdims=True)
    heat = (looks / np.max(looks, axis=(1, 2), keepdims=True))[..., None]
    return (1 - heat) * (0.25 + 0.75 * gray) + heat * np.array([0.85, 0.1, 0.1])


def magnification(change: np.ndarray) -> float:
    """The largest round factor that brings no change [...] above half the range."""
    largest = float(np.max(np.abs(change), initial=0.0))
    if largest == 0:
        return 1
    # Rounding must not push a change of exactly half / factor over the edge.
    fitting = [f for f in _FACTORS if f * largest <= 0.5 * (1 + 1e-5)]
    return max(fitting, default=1)


def _caption(pictures, row, k, names):
    def name(number):
        return names[number] if names and number < len(names) else str(number)

    label = name(int(pictures.labels[k]))
    if row == 0:
        return label
    if row == 2:
        return f"size {_digits(float(pictures.sizes[k]))}"
    if row == 3:
        before, after = (x[k] for x in (pictures.clean_scores, pictures.scores))
        return f"{100 * before:.0f} % → {100 * after:.0f} %"
    prediction = name(int(pictures.predictions[k]))
    line = "\n" if len(label) + len(prediction) > 10 else " "
    return f"{label}{line}→ {prediction}\n{_fate(pictures, k)}"


def _fate(pictures, k):
    """What became of an image; one that left its budget does not count as broken."""
    if pictures.success[k]:
        return "broken"
    return "withstood" if pictures.feasible[k] else "left the budget"


def _digits(value):
    if value == 0:
        return "0"
    places = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{min(places, 6)}f}"


def draw_image(axes: Any, image: np.ndarray) -> None:
    """Draws an image [h, w, c] in [0, 1], pixel by pixel and without ticks."""
    gray = image.shape[-1] != 3
    axes.imshow(
        image[..., 0] if gray else image,
        cmap="gray" if gray else None,
        vmin=0,
        vmax=1,
        interpolation="nearest",
    )
    axes.set_xticks([])
    axes.set_yticks([])


def wrapped(text: str, width: int) -> str:
    """`text` in lines of at most `width` characters."""
    return "\n".join(textwrap.wrap(text, width))


REMEDY = 'pip install "jaxadv[plots]"'


def available() -> bool:
    """Whether pictures can be drawn."""
    return extras.have("matplotlib")


def pyplot() -> Any:
    """matplotlib's pyplot, drawing to files."""
    # Imported here: it takes a second and chooses a display.
    matplotlib = extras.needs("matplotlib", "plots")
    if "ipykernel" not in sys.modules:  # a notebook goes on drawing to itself
        matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def write(figure: Any, path: str | os.PathLike) -> None:
    """Saves a figure as a PNG and closes it."""
    try:
        with storage.replacing(path) as temporary:
            figure.savefig(temporary, dpi=150)
    finally:
        pyplot().close(figure)
