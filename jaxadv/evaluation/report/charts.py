"""Pictures that compare: distances, sets of broken images, runs, human judgments."""

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxadv.evaluation.report.plots import BLUE, GRAY, ORANGE, pyplot, wrapped, write
from jaxadv.evaluation.writing.escape import drawn

# Okabe and Ito's colors, told apart by everyone; markers repeat the difference.
COLORS = (BLUE, ORANGE, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", GRAY)
MARKERS = "osD^vPX"
_MOST_SETS = 16
_LABEL = 24  # characters of a line beside an axis; longer labels go on in the next


def violins(
    values: Mapping[str, Mapping[str, np.ndarray]],
    path: str | os.PathLike,
    *,
    title: str,
) -> None:
    """Draws how distances are distributed: a panel a distance, a violin an attack.

    A violin ends at its smallest and largest value; the bar in it is the median. As
    figure 5 of Laidlaw, Singla and Feizi, "Perceptual adversarial robustness:
    defense against unseen threat models", 2021.

    Args:
      values: distance -> attack -> distances [k] of the images that it broke.
      path: the PNG to write.
      title: over all panels.
    """
    attacks = list(dict.fromkeys(a for panel in values.values() for a in panel))
    figure, panels = _panels(len(values), 1.6 + 0.75 * len(attacks), 3.4)
    for axes, (name, given) in zip(panels, values.items(), strict=True):
        for k, attack in enumerate(attacks):
            _violin(axes, k, np.asarray(given.get(attack, ())))
        counts = [len(given.get(a, ())) for a in attacks]
        names = [
            drawn(f"{wrapped(a, _LABEL)}\nn = {n}")
            for a, n in zip(attacks, counts, strict=True)
        ]
        axes.set_xticks(range(len(attacks)), names, rotation=35, ha="right", fontsize=9)
        axes.set_xlim(-0.6, len(attacks) - 0.4)
        axes.set_ylim(bottom=0)
        axes.set_title(drawn(name), fontsize=11)
        axes.grid(axis="y", alpha=0.3)
    for row in panels[:: _columns(len(values))]:
        row.set_ylabel("distance from the original")
    figure.suptitle(drawn(title), fontsize=11)
    write(figure, path)


def _violin(axes, position, values):
    color = COLORS[position % len(COLORS)]
    if len(values) == 0:
        axes.text(position, 0.02, "none", ha="center", color=GRAY, fontsize=9,
                  transform=axes.get_xaxis_transform())  # fmt: skip
        return
    middle = np.median(values)
    if np.ptp(values) > 1e-6 * np.max(np.abs(values)):
        parts = axes.violinplot([values], [position], widths=0.85, showextrema=False)
        for body in parts["bodies"]:
            body.set(facecolor=color, edgecolor=color, alpha=0.45)
    axes.hlines(middle, position - 0.22, position + 0.22, color=color, lw=2.5)


def queries(
    found: Mapping[str, Mapping[str, Any]], path: str | os.PathLike, *, title: str
) -> None:
    """Draws the accuracy that attacks without a gradient leave, against queries.

    Args:
      found: attack -> `queries` [k] ascending from 0, the `accuracy` [k] that they
        leave, fractions, and the `most` that were spent on an image.
      path: the PNG to write.
      title: above it.
    """
    plt = pyplot()
    figure, axes = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
    for k, (label, one) in enumerate(found.items()):
        x = np.append(np.maximum(one["queries"], 1), max(one["most"], 1))
        y = 100 * np.append(one["accuracy"], one["accuracy"][-1])
        style = {"color": COLORS[k % len(COLORS)], "ls": ("-", "--", ":")[k // 7 % 3]}
        axes.step(x, y, where="post", lw=1.8, label=drawn(label), **style)
    axes.set_xscale("log")
    axes.set_ylim(0, 102)
    axes.set_xlabel("queries of the network for an image")
    axes.set_ylabel("accuracy (%)")
    axes.set_title(drawn(wrapped(title, 70)), fontsize=11)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=9, framealpha=0.9)
    write(figure, path)


def overlap(
    counts: Mapping[str, int],
    labels: Sequence[str],
    path: str | os.PathLike,
    *,
    title: str,
) -> None:
    """Draws how many images each exact set of attacks breaks, as bars over a matrix.

    Every number of sets is drawn exactly; the areas of three overlapping circles
    cannot in general be. It answers what figure 2 of Laidlaw, Singla and Feizi, 2021
    (see `violins`) asks.

    Args:
      counts: "a + b" or "none" -> images; see `metrics.broken_by`.
      labels: the attacks, one row of the matrix each.
      path: the PNG to write.
      title: over the bars.
    """
    plt = pyplot()
    total = sum(counts.values())
    sets = {k: n for k, n in counts.items() if k != "none"}
    shown = sorted(sets, key=lambda k: -sets[k])[:_MOST_SETS]
    if "none" in counts:
        shown.append("none")
    rows, width = len(labels), max(5.0, 2.4 + 0.75 * len(shown))
    figure, (bars, matrix) = plt.subplots(
        2,
        1,
        sharex=True,
        figsize=(width, 3.2 + 0.35 * rows),
        height_ratios=[3.0, 0.4 + 0.4 * rows],
        layout="constrained",
    )
    for k, name in enumerate(shown):
        share = 100 * counts[name] / max(total, 1)
        bars.bar(k, share, color=GRAY if name == "none" else BLUE, width=0.65)
        text = f"{share:.1f} %\n{counts[name]}"
        bars.annotate(text, (k, share), (0, 3), textcoords="offset points",
                      ha="center", fontsize=9)  # fmt: skip
    hidden = len(sets) + ("none" in counts) - len(shown)
    rarer = f"; {hidden} rarer sets are left out" if hidden else ""
    whole = wrapped(f"{title}{rarer}", int(7.5 * width))
    bars.set_title(drawn(whole), fontsize=11)
    bars.set_ylabel(f"% of {total} images")
    bars.margins(y=0.18)
    bars.grid(axis="y", alpha=0.3)
    bars.set_axisbelow(True)
    bars.tick_params(bottom=False)
    _matrix(matrix, shown, labels, counts, total)
    write(figure, path)


def _matrix(axes, shown, labels, counts, total):
    """Dots: which attacks are in the set of each bar."""
    members = [set(name.split(" + ")) for name in shown]
    for row, label in enumerate(labels):
        inside = [k for k, names in enumerate(members) if label in names]
        axes.plot(range(len(shown)), [row] * len(shown), "o", color="#DDDDDD", ms=8)
        axes.plot(inside, [row] * len(inside), "o", color=BLUE, ms=8)
    for k, names in enumerate(members):
        inside = [row for row, label in enumerate(labels) if label in names]
        if len(inside) > 1:
            axes.plot([k, k], [min(inside), max(inside)], color=BLUE, lw=2)
    broken = {
        label: sum(n for name, n in counts.items() if label in name.split(" + "))
        for label in labels
    }
    names = [
        drawn(f"{wrapped(k, _LABEL)}  {100 * n / max(total, 1):.1f} %")
        for k, n in broken.items()
    ]
    axes.set_yticks(range(len(labels)), names)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_xlim(-0.6, len(shown) - 0.4)
    ticks = ["none of\nthese" if name == "none" else "" for name in shown]
    axes.set_xticks(range(len(shown)), ticks, fontsize=9)
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)


def tradeoff(
    panels: Mapping[str, Sequence[Mapping[str, Any]]], path: str | os.PathLike
) -> None:
    """Draws clean accuracy against union accuracy of runs, with Wilson intervals.

    As figure 8 of Laidlaw, Singla and Feizi, 2021 (see `violins`).

    Args:
      panels: title -> runs, each with `name` and, as fractions with `accuracy`,
        `low` and `high`, `clean` and `union`.
      path: the PNG to write.
    """
    figure, cells = _panels(len(panels), 5.6, 4.6)
    for axes, (title, runs) in zip(cells, panels.items(), strict=True):
        for k, run in enumerate(runs):
            _run(axes, run, k)
        axes.set_xlabel("accuracy under the union of attacks (%)")
        axes.set_ylabel("clean accuracy (%)")
        axes.set_title(drawn(wrapped(title, 60)), fontsize=10)
        axes.grid(alpha=0.3)
        axes.margins(0.12)
        axes.legend(fontsize=9, framealpha=0.9)
    write(figure, path)


def _run(axes, run, number):
    x, y = (
        [[100 * part[key]] for key in ("accuracy", "low", "high")]
        for part in (run["union"], run["clean"])
    )
    axes.errorbar(
        x[0],
        y[0],
        xerr=_whiskers(*x),
        yerr=_whiskers(*y),
        fmt=MARKERS[number // len(COLORS) % len(MARKERS)],
        color=COLORS[number % len(COLORS)],
        ms=7,
        capsize=2,
        lw=1.2,
        label=drawn(wrapped(run["name"], 40)),
    )


def perceptibility(
    panels: Mapping[str, Sequence[Mapping[str, Any]]],
    correlations: Mapping[str, Mapping[str, float | None]],
    path: str | os.PathLike,
) -> None:
    """Draws perceptibility against mean distance, a panel a distance.

    As figure 4a of Laidlaw, Singla and Feizi, 2021 (see `violins`).

    Args:
      panels: distance -> groups, each with `type`, `size`, `distance`, and as
        fractions `perceptibility`, `low` and `high`.
      correlations: distance -> `pearson` and `spearman`.
      path: the PNG to write.
    """
    figure, cells = _panels(len(panels), 4.6, 4.0)
    for axes, (name, groups) in zip(cells, panels.items(), strict=True):
        kinds = list(dict.fromkeys(g["type"] for g in groups))
        for k, kind in enumerate(kinds):
            _groups(axes, [g for g in groups if g["type"] == kind], kind, k)
        found = correlations[name]
        r, rho = (_number(found[key]) for key in ("pearson", "spearman"))
        axes.set_title(drawn(f"{name}: Pearson {r}, Spearman {rho}"), fontsize=11)
        axes.set_xlabel("mean distance of the pairs (letters: the bound's size)")
        axes.set_ylim(-2, 108)
        axes.grid(alpha=0.3)
    for axes in cells[:: _columns(len(panels))]:
        axes.set_ylabel('perceptibility (% "different")')
    cells[0].legend(fontsize=8, framealpha=0.9)
    write(figure, path)


def _groups(axes, groups, kind, number):
    groups = sorted(groups, key=lambda g: g["distance"])
    x = [g["distance"] for g in groups]
    y, low, high = (
        [100 * g[key] for g in groups] for key in ("perceptibility", "low", "high")
    )
    color = COLORS[number % len(COLORS)]
    axes.errorbar(
        x,
        y,
        yerr=_whiskers(y, low, high),
        fmt=MARKERS[number % len(MARKERS)],
        ls=":",
        color=color,
        ms=6,
        capsize=2,
        lw=1,
        label=drawn(kind),
    )
    for group, a, b in zip(groups, x, y, strict=True):
        size = drawn(group["size"][:1].upper())
        axes.annotate(size, (a, b), (6, 4), fontsize=7,
                      textcoords="offset points", color=color)  # fmt: skip


def correlation(
    correlations: Mapping[str, Mapping[str, float | None]], path: str | os.PathLike
) -> None:
    """Draws how each distance correlates with perceptibility, the best one first.

    As figure 4c of Laidlaw, Singla and Feizi, 2021 (see `violins`). A correlation
    that is not defined has no bar.
    """
    plt = pyplot()

    def order(name):
        value = correlations[name]["pearson"]
        return math.inf if value is None else -value

    names = sorted(correlations, key=order)
    figure, axes = plt.subplots(
        figsize=(6.4, 1.5 + 0.6 * len(names)), layout="constrained"
    )
    for shift, key, color in ((-0.2, "pearson", BLUE), (0.2, "spearman", ORANGE)):
        for row, name in enumerate(names):
            value = correlations[name][key]
            label = key.capitalize() if row == 0 else None
            axes.barh(row + shift, value or 0.0, 0.36, color=color, label=label)
            axes.annotate(_number(value), (max(value or 0.0, 0.0), row + shift),
                          (4, 0), textcoords="offset points", va="center",
                          fontsize=9)  # fmt: skip
    axes.axvline(0, color=GRAY, lw=1)
    axes.set_yticks(range(len(names)), list(map(drawn, names)))
    axes.invert_yaxis()
    axes.set_xlim(right=1.12)
    axes.set_xlabel("correlation with perceptibility")
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    figure.legend(loc="outside upper center", ncols=2, fontsize=9, frameon=False)
    write(figure, path)


def matrix(
    shares: np.ndarray,
    names: Sequence[str],
    path: str | os.PathLike,
    *,
    title: str,
) -> None:
    """Draws what images of each network do to the others, with the numbers.

    Args:
      shares: [k, k] accuracies as fractions, targets in the rows, sources in the
        columns.
      names: of the networks.
      path: the PNG to write.
      title: above it.
    """
    plt = pyplot()
    side = 1.8 + 0.8 * len(names)
    figure, axes = plt.subplots(figsize=(side + 1, side), layout="constrained")
    axes.imshow(100 * shares, cmap="Blues_r", vmin=0, vmax=100)
    shown = [drawn(wrapped(name, 24)) for name in names]
    places = range(len(names))
    axes.set_xticks(places, shown, rotation=45, ha="right", fontsize=9)
    axes.set_yticks(places, shown, fontsize=9)
    axes.set_xlabel("images made on")
    axes.set_ylabel("accuracy of (%)")
    for (i, j), share in np.ndenumerate(shares):
        color = "black" if share > 0.5 else "white"
        weight = "bold" if i == j else "normal"
        axes.text(j, i, f"{100 * share:.0f}", ha="center", va="center",
                  color=color, weight=weight)  # fmt: skip
    axes.set_title(drawn(wrapped(title, 50)), fontsize=11)
    write(figure, path)


def _number(value):
    return "undefined" if value is None else f"{value:.2f}"


def _whiskers(middle, low, high):
    """Lengths below and above, as `errorbar` wants them."""
    middle, low, high = map(np.asarray, (middle, low, high))
    return np.maximum(np.stack([middle - low, high - middle]), 0.0)


def _columns(count):
    return min(count, 3 if count != 4 else 2)


def _panels(count, width, height):
    """A figure and `count` axes, at most three in a row."""
    plt = pyplot()
    columns = _columns(count)
    rows = math.ceil(count / columns)
    figure, grid = plt.subplots(
        rows,
        columns,
        figsize=(width * columns, height * rows + 0.4),
        squeeze=False,
        layout="constrained",
    )
    for spare in grid.flat[count:]:
        spare.set_visible(False)
    return figure, list(grid.flat[:count])
