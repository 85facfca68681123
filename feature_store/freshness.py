"""How old what is served is: the newest row of each view, and what the online store has not yet taken."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from feature_store.definitions import FeatureView
from feature_store.offline.store import OfflineStore
from feature_store.online.base import OnlineStore


@dataclass(frozen=True)
class Freshness:
    """State of one view.

    Attributes:
        view: label.
        rows: in the offline store.
        newest: event time of the newest row, ``None`` where there is none.
        age: of the newest row.
        ttl: of the view.
        waiting_commits: written, but not materialised (a push is served at once, but is counted until then).
        waiting_rows: in these.
        quarantined: batches that were refused.
    """

    view: str
    rows: int
    newest: datetime | None
    age: timedelta | None
    ttl: timedelta | None
    waiting_commits: int
    waiting_rows: int
    quarantined: int

    @property
    def expired(self) -> bool:
        """Whether not even the newest row counts any more, so that every feature is its default."""
        return self.age is None or (self.ttl is not None and self.age > self.ttl)


def freshness(offline: OfflineStore, online: OnlineStore, view: FeatureView, now: datetime) -> Freshness:
    """Look at one view in both stores.

    Raises:
        StoreError: one of them cannot be read.
    """
    files, watermark = offline.files(view), online.watermark(view)
    waiting = [file for file in files if file.sequence > watermark]
    newest = max((file.last_event for file in files), default=None)
    return Freshness(
        view=view.label,
        rows=sum(file.rows for file in files),
        newest=newest,
        age=None if newest is None else now - newest,
        ttl=view.ttl,
        waiting_commits=len({file.sequence for file in waiting}),
        waiting_rows=sum(file.rows for file in waiting),
        quarantined=len(offline.quarantined(view)),
    )
