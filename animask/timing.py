"""Calls timed in turns, and how their times spread."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import quantiles

ROUNDS = 3  # at least; quartiles of fewer say nothing
MOST_ROUNDS = 100


@dataclass(frozen=True)
class Spread:
    """The median of some rounds and their quartiles."""

    median: float
    low: float
    high: float
    rounds: int


def take_turns(calls: dict[str, Callable[[], object]], seconds: float) -> dict[str, list[float]]:
    """Seconds that each call takes, in turns, so that what else the machine does slows all of them alike.

    The first turn is not measured: memory is got and algorithms are chosen in it.
    """
    for call in calls.values():
        call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    end = time.perf_counter() + seconds
    for number in range(MOST_ROUNDS):
        if number >= ROUNDS and time.perf_counter() > end:
            break
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - started)
    return times


def spread(values: list[float]) -> Spread:
    """Median and quartiles, by linear interpolation between the values."""
    low, middle, high = quantiles(values, n=4, method="inclusive")
    return Spread(middle, low, high, len(values))
