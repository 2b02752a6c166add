"""The experiment's own evaluation, on processes of which everything is known."""

import numpy as np

from tests.performance.compare_experiment import (
    DESIGNS,
    MEMORY_GROWTH,
    SLOWDOWNS,
    Measured,
    judge,
)


def rounds(count: int, spread: float) -> list[Measured]:
    rng = np.random.default_rng(1)
    measured: list[Measured] = []
    clock = 0.0
    for number in range(count):
        for cell in ("first", "second"):
            for variant in rng.permutation(list(SLOWDOWNS) if cell == "first" else ["a", "b"]):
                growth = MEMORY_GROWTH if variant == "memory-3" else 0.0
                time = 100 * (1 + SLOWDOWNS[variant]) * np.exp(spread * rng.standard_normal())
                memory = 500 * (1 + growth)
                measured.append(
                    Measured(number, cell, str(variant), time, memory, clock, clock + 4)
                )
                clock += 5
    return measured


def test_on_a_quiet_machine_all_is_found_and_nothing_else():
    found = list(judge(rounds(20, 0.005)))
    assert {row.variant for row in found} == set(SLOWDOWNS) - {"a"}
    assert {(row.design, row.processes) for row in found} == set(DESIGNS)
    for row in found:
        shift = row.processes if row.design == "separate" else 0
        assert row.comparisons == 20 - row.processes - shift + 1
        assert row.false_alarms == row.missed == 0
        assert row.found == (0 if row.variant == "b" else row.comparisons)


def test_on_a_noisy_machine_what_is_not_told_is_not_called_unchanged():
    for row in judge(rounds(16, 0.1)):
        assert row.found + row.missed + row.inconclusive == row.comparisons or row.variant == "b"
        if row.variant == "slower-20":
            assert row.missed == 0
            assert row.inconclusive > 0 or row.processes == 10
