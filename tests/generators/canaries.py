"""What an attacker proves of a budget who knows every row but one."""

import numpy as np

from workbench.metrics.privacy import best_threshold, empirical_epsilon


def proven_epsilon(with_row: np.ndarray, without: np.ndarray, delta: float) -> float:
    """The budget that scores of runs with and without a row prove, shape (runs,) each: the threshold
    is chosen on the first half of the runs and judged on the second.
    """
    half = len(with_row) // 2
    threshold = best_threshold(with_row[:half], without[:half])
    return empirical_epsilon(with_row[half:], without[half:], threshold, delta)
