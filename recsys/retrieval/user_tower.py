"""User tower source: the items nearest to any of the user's interests, as a trained tower sees user and items."""

from __future__ import annotations

from pathlib import Path

from recsys.embeddings.table import EmbeddingTable
from recsys.index.base import VectorIndex
from recsys.index.exact import ExactIndex
from recsys.retrieval.vectors import VectorSource
from recsys.towers.user import UserTower
from recsys.types import FloatArray, Histories

TABLE = "table"
USER_TOWER = "user-tower"


class UserTowerSource(VectorSource):
    """User = the interests that the tower reads from the newest engagements.

    Args:
        tower: makes the vectors of users.
        items: vectors of the catalogue, from :meth:`recsys.towers.user.UserTower.item_table`.
        index: built from these.
        name: of the source.
    """

    def __init__(self, tower: UserTower, items: EmbeddingTable, index: VectorIndex, name: str = USER_TOWER) -> None:
        super().__init__(items, index, name)
        self.tower = tower

    @classmethod
    def open(cls, path: Path) -> UserTowerSource:
        """A saved user tower with the catalogue that was encoded beside it, searched exactly."""
        items = EmbeddingTable.open(path / TABLE)
        return cls(UserTower.load(path), items, ExactIndex(items))

    @property
    def last(self) -> int:
        return self.tower.config.last

    def user_vectors(self, histories: Histories) -> FloatArray:
        return self.tower.user_vectors(histories, self.items.vectors)
