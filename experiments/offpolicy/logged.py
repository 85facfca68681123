"""LoggedActions: what was done, what it earned, and how probable it was under the logging and the evaluated policy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from experiments.exceptions import InputError

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LoggedActions:
    """n decisions of a logging policy, seen through the eyes of another one.

    Attributes:
        rewards: what each earned, float64 ``[n]``.
        logged: probability with which the logging policy took the action it took, in (0, 1], ``[n]``.
        target: probability with which the evaluated policy takes that action in the same situation, ``[n]``.
        predicted: what a reward model expects of that action, ``[n]``; ``None`` without a model.
        expected: what it expects of the evaluated policy, the sum over all actions, ``[n]``; ``None`` without.
        units: who was treated, ``[n]``, sortable; decisions of one unit are not independent. ``None``: all are.
        unsupported: probability of the evaluated policy on actions the logging policy never takes, ``[n]``; ``None``
            where only the logged action is known.

    Raises:
        InputError: lengths that differ, values that are not finite, or not probabilities.
    """

    rewards: Float64
    logged: Float64
    target: Float64
    predicted: Float64 | None = None
    expected: Float64 | None = None
    units: npt.NDArray[np.generic] | None = None
    unsupported: Float64 | None = None

    def __post_init__(self) -> None:
        if len(self.rewards) == 0:
            raise InputError("No action was logged.", "Take a longer period, or look at how the log was filtered.")
        for name in ("rewards", "logged", "target", "predicted", "expected", "unsupported"):
            _check(name, getattr(self, name), len(self.rewards))
        if self.units is not None and len(self.units) != len(self.rewards):
            raise InputError(f"{len(self.units)} units for {len(self.rewards)} rewards.", "Give one for each.")
        for name in ("logged", "target"):
            values = getattr(self, name)
            least = values.min() <= 0 if name == "logged" else values.min() < 0
            if least or values.max() > 1 + 1e-9:
                row = int(np.argmax((values <= 0 if name == "logged" else values < 0) | (values > 1 + 1e-9)))
                raise InputError(
                    f"The {name} propensity of row {row} is {values[row]:g}.",
                    "A propensity is a probability; what was logged cannot have had none.",
                )
        if (self.predicted is None) != (self.expected is None):
            raise InputError("One of predicted and expected rewards is missing.", "A reward model gives both.")

    @classmethod
    def of_distributions(
        cls,
        rewards: Float64,
        actions: npt.NDArray[np.integer],
        logged: Float64,
        target: Float64,
        predicted: Float64 | None = None,
        units: npt.NDArray[np.generic] | None = None,
    ) -> LoggedActions:
        """From whole distributions over actions.

        Args:
            rewards: ``[n]``.
            actions: which was taken, ``[n]`` in ``0..actions``.
            logged: of the logging policy, ``[n, actions]``, or of the action taken alone, ``[n]``.
            target: of the evaluated policy, ``[n, actions]``, rows adding up to 1.
            predicted: reward that a model expects of each action, ``[n, actions]``.
            units: see the class.

        Raises:
            InputError: rows of ``target`` that do not add up to 1, or see the class.
        """
        off = np.abs(target.sum(axis=1) - 1)
        if off.max(initial=0) > 1e-6:
            row = int(off.argmax())
            raise InputError(
                f"The target's probabilities add up to {target[row].sum():g} in row {row}.", "Make them add up to 1."
            )
        rows = np.arange(len(actions))
        return cls(
            rewards,
            logged[rows, actions] if logged.ndim == 2 else logged,
            target[rows, actions],
            None if predicted is None else predicted[rows, actions],
            None if predicted is None else (target * predicted).sum(axis=1),
            units,
            np.where(logged > 0, 0, target).sum(axis=1) if logged.ndim == 2 else None,
        )

    def __len__(self) -> int:
        return len(self.rewards)

    @property
    def weights(self) -> Float64:
        """How much oftener the evaluated policy does what was done, ``[n]``; 1 on average."""
        weights: Float64 = self.target / self.logged
        return weights


def _check(name: str, values: Float64 | None, n: int) -> None:
    if values is None:
        return
    if values.shape != (n,):
        raise InputError(f"{name} has the shape {list(values.shape)} beside {n} rewards.", "Give one for each.")
    if not np.isfinite(values).all():
        row = int(np.argmin(np.isfinite(values)))
        raise InputError(f"{name} is {values[row]} in row {row}.", "Leave such rows out, or mend them.")
