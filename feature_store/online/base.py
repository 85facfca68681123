"""The protocol of an online store, and what all kinds share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from feature_store.definitions import Array, FeatureView
from feature_store.records import Key


class OnlineStore(Protocol):
    """Packed records by view and key. Safe for many threads; views of different versions live side by side."""

    def put_many(self, view: FeatureView, keys: Sequence[Key], records: Array) -> int:
        """Store the records that supersede what is held; acknowledged, that is durable, when it returns.

        Args:
            view: the records are of.
            keys: different ones.
            records: ``[n]`` of ``view.record``.

        Returns:
            How many were stored.

        Raises:
            StoreError: the store holds records of another layout under this name and version, or it cannot be written.
        """
        ...

    def get_many(self, view: FeatureView, keys: Sequence[Key]) -> Array:
        """Records ``[n]`` in the order of the keys, that of :func:`~feature_store.records.absent` where there is none.

        Raises:
            StoreError: the store holds records of another layout under this name and version.
        """
        ...

    def watermark(self, view: FeatureView) -> int:
        """Sequence number of the last commit of the offline store that is wholly here; 0: none."""
        ...

    def advance(self, view: FeatureView, watermark: int) -> None:
        """Remember, durably, that commits up to a sequence number are wholly here."""
        ...

    def settle(self, view: FeatureView) -> None:
        """Called when a materialisation has written all it had: the time to put things in order."""
        ...

    def close(self) -> None: ...
