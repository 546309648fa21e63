"""How far the images that each attack breaks have moved; measured in `per_attack`."""

from jaxadv.evaluation.metrics.base import Metric, Section

_ABOUT = (
    "Distances of the returned images from their originals, over the images that are "
    "correct without the attack and broken by it."
)


def _rows(report):
    """Mean and median of each attack; empty where the suite measured no distances."""
    attacks = report["attacks"]
    names = list(dict.fromkeys(n for a in attacks.values() for n in a["distances"]))
    if not names:
        return []
    cells = [("distance: mean / median", "broken", *names)]
    for label, found in attacks.items():
        middles = [_middle(found["distances"].get(name)) for name in names]
        cells.append((label, str(found["broken"]), *middles))
    return cells


def _middle(found):
    if not found or found["mean"] is None:
        return "-"
    return f"{found['mean']:.4g} / {found['median']:.4g}"


def _sections(report):
    rows = _rows(report)
    if rows:
        title = "How far the broken images moved"
        yield Section(title, rows, about=_ABOUT, printed=rows)


def _csv(report):
    return [
        ("attack", "broken", "distance", "mean", "median"),
        *(
            (label, attack["broken"], name, middle["mean"], middle["median"])
            for label, attack in report["attacks"].items()
            for name, middle in attack["distances"].items()
        ),
    ]


DISTANCES = Metric(
    "distances",
    None,
    sections=_sections,
    csv=_csv,
    about="how far the broken images moved",
)
