"""Standard error of a mean whose rows belong to units: rows of one unit move together."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def standard_error(influence: npt.NDArray[np.float64], units: npt.NDArray[np.generic] | None) -> tuple[float, int]:
    """Standard error of an estimate, from how far each row pulls it.

    Args:
        influence: float64 ``[n]``, of mean 0: the estimate moves by ``influence / n`` with each row.
        units: who each row belongs to, ``[n]``; ``None``: all are independent.

    Returns:
        The error (infinite with a single unit), and the degrees of freedom.
    """
    n = len(influence)
    sums = influence if units is None else np.bincount(np.unique(units, return_inverse=True)[1], weights=influence)
    groups = len(sums)
    if groups < 2:
        return float("inf"), 1
    return float(np.sqrt((sums**2).sum() * groups / (groups - 1)) / n), groups - 1
