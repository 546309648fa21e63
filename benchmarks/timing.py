"""What the benchmarks print: paired times, as contenders take turns, and tables."""

import time
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from jaxadv.evaluation import metrics


def alternate(
    contenders: Mapping[str, Callable[[], object]], rounds: int = 15
) -> dict[str, np.ndarray]:
    """Seconds of each contender in each round, after one warm-up call.

    A contender returns only when its work is done.
    """
    for run in contenders.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return {name: np.array(values) for name, values in seconds.items()}


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> str:
    """Median of the rounds' ratios, with the quartiles."""
    low, middle, high = np.percentile(numerator / denominator, [25, 50, 75])
    return f"{middle:.3f} ({low:.3f}–{high:.3f})"


def table(header: list[str], rows: Iterable[list[str]]) -> None:
    """Prints a Markdown table, each row as soon as it is there."""
    print("| " + " | ".join(header) + " |")
    print("|" + " --- |" * len(header))
    for row in rows:
        print("| " + " | ".join(row) + " |", flush=True)


def interval(fractions, examples: int) -> str:
    """Mean ± deviation of seeds in percent, and the Wilson interval of one seed.

    The seeds share their examples, so that more of them do not make it narrower.
    """
    values = 100 * np.asarray(fractions)
    low, high = metrics.wilson(round(examples * np.mean(fractions)), examples)
    spread = f" ± {values.std():.1f}" if len(values) > 1 else ""
    return f"{values.mean():.1f}{spread} ({100 * low:.1f}–{100 * high:.1f})"
