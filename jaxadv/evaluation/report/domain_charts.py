"""Pictures of attacks on several domains: weights, success rates, image robustness."""

import os
from collections.abc import Mapping, Sequence

import numpy as np

from jaxadv.evaluation.report.charts import COLORS, MARKERS
from jaxadv.evaluation.report.plots import GRAY, draw_image, pyplot, write
from jaxadv.evaluation.writing.escape import drawn


def weights(
    history: np.ndarray,
    names: Sequence[str],
    path: str | os.PathLike,
    *,
    title: str,
    ticks: Sequence[object] | None = None,
    axis: str = "iteration",
    kind: str = "box",
) -> None:
    """Draws how the weights of domains are distributed over examples.

    As figure 1c of Wang et al., "Adversarial Attack Generation Empowered by Min-Max
    Optimization", 2021, with one group of boxes an iteration, or figures 3a and A2a
    with violins over budgets.

    Args:
      history: [n, T, K] weights of n examples at T places, as `craft_traced` gives.
      names: [K] of the domains.
      path: the PNG to write.
      title: over the picture.
      ticks: [T] what the places are called; default 0 … T - 1.
      axis: what the places are.
      kind: "box" (quartiles, whiskers from the 5th to the 95th percentile) or
        "violin", with the median as a bar.
    """
    plt = pyplot()
    _, places, count = history.shape
    ticks = range(places) if ticks is None else ticks
    figure, axes = plt.subplots(
        figsize=(max(6.4, 0.22 * places * count + 2.6), 4.2), layout="constrained"
    )
    width = 0.8 / count
    for k, name in enumerate(names):
        at = np.arange(places) + (k - (count - 1) / 2) * width
        color = COLORS[k % len(COLORS)]
        _DRAW[kind](axes, history[:, :, k], at, 0.85 * width, color)
        axes.plot([], [], "s", color=color, label=drawn(name))
    axes.axhline(1 / count, color=GRAY, ls=":", lw=1, label="average case")
    axes.set_xticks(range(places), [drawn(t) for t in ticks])
    axes.set_xlabel(drawn(axis))
    axes.set_ylabel(f"weight, {len(history)} examples")
    axes.set_ylim(-0.02, 1.02)
    axes.set_title(drawn(title), fontsize=11)
    axes.grid(axis="y", alpha=0.3)
    figure.legend(fontsize=9, loc="outside right upper")
    write(figure, path)


def _boxes(axes, values, at, width, color):
    parts = axes.boxplot(
        list(values.T),
        positions=at,
        widths=width,
        whis=(5, 95),
        showfliers=False,
        patch_artist=True,
        medianprops={"color": "black"},
        manage_ticks=False,
    )
    for body in parts["boxes"]:
        body.set(facecolor=color, edgecolor=color, alpha=0.6)


def _violins(axes, values, at, width, color):
    for place, column in zip(at, values.T, strict=True):
        if np.ptp(column) > 1e-6:
            parts = axes.violinplot([column], [place], widths=width, showextrema=False)
            for body in parts["bodies"]:
                body.set(facecolor=color, edgecolor=color, alpha=0.5)
        middle = np.median(column)
        axes.hlines(middle, place - width / 2, place + width / 2, color=color, lw=2)


_DRAW = {"box": _boxes, "violin": _violins}


def curves(
    x: Sequence[float],
    rates: Mapping[str, Sequence[float]],
    path: str | os.PathLike,
    *,
    axis: str,
    title: str,
    measure: str = "ASR of all domains",
    percent: bool = True,
) -> None:
    """Draws success rates, accuracies or sizes against a budget, a parameter or time.

    As figures 1 (against iterations), 2, 3b, 3c and A3 (against eps), A1 (against
    gamma) and A4 (against epochs) of Wang et al., 2021.

    Args:
      x: [k] values of the parameter.
      rates: name -> fractions, or numbers of any size, [k] or fewer.
      path: the PNG to write.
      axis: what `x` is.
      title: over the picture.
      measure: what the rates are.
      percent: whether they are fractions, drawn on a scale from 0 to 100.
    """
    figure, axes = pyplot().subplots(figsize=(6.4, 4.2), layout="constrained")
    for k, (name, values) in enumerate(rates.items()):
        color, marker = COLORS[k % len(COLORS)], MARKERS[k % len(MARKERS)]
        shown = (100 if percent else 1) * np.asarray(values)
        axes.plot(x[: len(shown)], shown, marker=marker, color=color, label=drawn(name))
    axes.set_xlabel(drawn(axis))
    axes.set_ylabel(f"{measure} (%)" if percent else measure)
    axes.set_ylim(*((-2, 102) if percent else (0, None)))
    axes.set_title(drawn(title), fontsize=11)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=9, framealpha=0.9)
    write(figure, path)


def image_robustness(
    images: np.ndarray,
    columns: Mapping[str, np.ndarray],
    path: str | os.PathLike,
    *,
    title: str,
) -> None:
    """Draws groups of images, a row each, with their numbers written below them.

    As tables A9 and A10 of Wang et al., 2021: the weights of a universal attack under
    each norm beside what it takes to break the image alone. The largest number of
    each kind in a group is in bold.

    Args:
      images: [g, K, h, w, c] in [0, 1].
      columns: name of a number -> [g, K] values.
      path: the PNG to write.
      title: over the picture.
    """
    groups, count = images.shape[:2]
    heights = 1.2, 0.19 * len(columns)
    figure, cells = pyplot().subplots(
        2 * groups,
        count,
        figsize=(1.25 * count + 1.4, sum(heights) * groups + 0.5),
        height_ratios=heights * groups,
        squeeze=False,
        layout="constrained",
    )
    for row, k in np.ndindex(groups, count):
        draw_image(cells[2 * row, k], images[row, k])
        below = cells[2 * row + 1, k]
        below.set_axis_off()
        for line, (name, values) in enumerate(columns.items()):
            y = 1 - (line + 0.5) / len(columns)
            value, largest = values[row, k], np.max(values[row])
            weight = "bold" if value == largest else "normal"
            below.text(0.5, y, f"{value:.3f}", ha="center", va="center",
                       fontsize=9, fontweight=weight)  # fmt: skip
            if k == 0:
                below.text(0, y, drawn(name), ha="right", va="center", fontsize=9)
    figure.suptitle(drawn(title), fontsize=11)
    write(figure, path)
