"""The truth behind the log: what every reader would think of every note at any time.

It is saved beside the data set, and an evaluation asks it how far a perfect engine would come.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from recsys.data.world.clock import DAY_MS, START_MS
from recsys.data.world.notes import Notes
from recsys.data.world.people import People
from recsys.exceptions import DataError
from recsys.types import FloatArray, IdMap

FILE = "truth.npz"
ATTRIBUTES = ("topic", "subtopic", "intent", "style", "palette", "author")
"""What a note has and a reader likes, in the order of the columns of codes and tastes."""
BASE_LOGIT = -2.4


@dataclass(frozen=True, eq=False)
class Truth:
    """Latent attributes of items and tastes of users, and the preference they add up to.

    The logit of a click on an item that was examined is the sum of the user's taste for each of its attributes, its
    quality, and a constant. An attribute an item does not have (``-1``: no picture, no words) counts zero. Tastes move
    in a straight line from ``start`` to ``end``, a step a day.

    Attributes:
        items: the items in data set row order.
        users: the users in row order.
        codes: attribute values of the items, int32 ``[n_items, 6]``, columns as in :data:`ATTRIBUTES`.
        widths: number of values of each attribute, ``[6]``.
        quality: logits, ``[n_items]``.
        created_at: milliseconds since 1970, int64 ``[n_items]``.
        start: tastes on the first day, float32 ``[n_users, widths.sum()]``.
        end: tastes at the end of the last day.
        n_days: length of the period.
    """

    items: IdMap
    users: IdMap
    codes: npt.NDArray[np.int32]
    widths: npt.NDArray[np.int64]
    quality: FloatArray
    created_at: npt.NDArray[np.int64]
    start: FloatArray
    end: FloatArray
    n_days: int

    @classmethod
    def of(cls, items: IdMap, users: IdMap, notes: Notes, people: People, widths: Sequence[int], n_days: int) -> Truth:
        codes = np.stack([getattr(notes, name) for name in ATTRIBUTES], axis=1)
        return cls(
            items,
            users,
            codes,
            np.asarray(widths, dtype=np.int64),
            notes.quality,
            notes.created_at,
            people.start,
            people.end,
            n_days,
        )

    @classmethod
    def exists(cls, path: Path) -> bool:
        """Whether the data set at ``path`` is a generated world."""
        return (path / FILE).exists()

    @classmethod
    def open(cls, path: Path) -> Truth:
        """Read the truth of the data set at ``path``.

        Raises:
            DataError: the data set was not generated.
        """
        if not cls.exists(path):
            raise DataError(f"{path} holds no {FILE}.", "Only a generated world knows the truth.")
        with np.load(path / FILE, allow_pickle=False) as arrays:
            return cls(
                IdMap.of(arrays["items"].tolist()),
                IdMap.of(arrays["users"].tolist()),
                arrays["codes"],
                arrays["widths"],
                arrays["quality"],
                arrays["created_at"],
                arrays["start"],
                arrays["end"],
                int(arrays["n_days"]),
            )

    def save(self, path: Path) -> None:
        """Write the truth into the data set directory ``path``."""
        np.savez_compressed(
            path / FILE,
            items=np.array(list(self.items)),
            users=np.array(list(self.users)),
            codes=self.codes,
            widths=self.widths,
            quality=self.quality,
            created_at=self.created_at,
            start=self.start,
            end=self.end,
            n_days=np.int64(self.n_days),
        )

    def attribute(self, name: str) -> npt.NDArray[np.int32]:
        """Values of one of :data:`ATTRIBUTES` per item, ``-1`` where it has none, int32 ``[n_items]``."""
        return self.codes[:, ATTRIBUTES.index(name)]

    def one_hot(self, names: Sequence[str]) -> FloatArray:
        """The named attributes of the items side by side, float32 ``[n_items, sum of widths]``."""
        return np.concatenate([_one_hot(self.attribute(name), self._width(name)) for name in names], axis=1)

    def tastes(self, user_rows: npt.ArrayLike, time: datetime | int) -> FloatArray:
        """What users like at a time, in logits, float32 ``[n, widths.sum()]``."""
        rows = np.asarray(user_rows)
        day = (_milliseconds(time) - START_MS) // DAY_MS
        moved = np.float32(np.clip(day / self.n_days, 0, 1))
        return np.asarray(self.start[rows] + moved * (self.end[rows] - self.start[rows]))

    def taste(self, name: str, user_rows: npt.ArrayLike, time: datetime | int) -> FloatArray:
        """What users like of one of :data:`ATTRIBUTES` at a time, in logits, float32 ``[n, width]``."""
        begin = int(self.widths[: ATTRIBUTES.index(name)].sum())
        return self.tastes(user_rows, time)[:, begin : begin + self._width(name)]

    def logits(self, user_rows: npt.ArrayLike, time: datetime | int) -> FloatArray:
        """Log-odds of a click given examination, float32 ``[n, n_items]``."""
        logits = np.float32(BASE_LOGIT) + np.tile(self.quality, (len(np.asarray(user_rows)), 1))
        for name in ATTRIBUTES:  # sums in one order: a matrix product would depend on the number of threads
            values = self.attribute(name)
            taste = np.pad(self.taste(name, user_rows, time), ((0, 0), (0, 1)))  # a value of -1 finds the zero
            logits += taste[:, values]
        return logits

    def preference(self, users: Sequence[str], time: datetime | int) -> FloatArray:
        """Probability of a click in the feed given that the user examines the item.

        Args:
            users: external user ids.
            time: moment of the request; milliseconds since 1970 or an aware datetime.

        Returns:
            float32 ``[n_users, n_items]``, items in data set row order, those that do not exist yet included.

        Raises:
            DataError: an unknown user.
        """
        rows = self.users.rows(users)
        if (rows < 0).any():
            raise DataError(f"User {users[int(np.argmin(rows))]!r} does not live in this world.")
        return sigmoid(self.logits(rows, time))

    def exists_at(self, time: datetime | int) -> npt.NDArray[np.bool_]:
        """Which items have been published by ``time``, ``[n_items]``."""
        return self.created_at <= _milliseconds(time)

    def _width(self, name: str) -> int:
        return int(self.widths[ATTRIBUTES.index(name)])


def sigmoid(logits: FloatArray) -> FloatArray:
    return np.asarray(1 / (1 + np.exp(-logits)), np.float32)


def _one_hot(values: npt.NDArray[np.int32], width: int) -> FloatArray:
    return np.asarray(values[:, None] == np.arange(width)[None, :], np.float32)


def _milliseconds(time: datetime | int) -> int:
    return int(time.timestamp() * 1000) if isinstance(time, datetime) else int(time)
