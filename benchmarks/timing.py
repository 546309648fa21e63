"""Paired timing: the contenders take turns, so noise of the machine hits all."""

import time
from collections.abc import Callable, Mapping

import numpy as np


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


def table(header: list[str], rows: list[list[str]]) -> None:
    """Prints a Markdown table."""
    print("| " + " | ".join(header) + " |")
    print("|" + " --- |" * len(header))
    for row in rows:
        print("| " + " | ".join(row) + " |", flush=True)
