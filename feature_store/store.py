"""FeatureStore: one folder with registry, offline store and online store, and the verbs that join them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from feature_store.definitions import Array, FeatureView
from feature_store.freshness import Freshness, freshness
from feature_store.materialize import Materialized, materialize, push
from feature_store.offline.commits import Commit
from feature_store.offline.history import get_historical_features
from feature_store.offline.store import OfflineStore
from feature_store.online.base import OnlineStore
from feature_store.online.embedded import LmdbStore
from feature_store.read import Keys, OnlineFeatures, get_online_features
from feature_store.registry import Registry
from feature_store.service import FeatureService
from feature_store.skew import Skew, replay
from feature_store.statistics_page import render_statistics


class FeatureStore:
    """What a feature pipeline, a training job and a server open.

    Args:
        home: ``registry/``, ``offline/`` and ``online/`` stand in it; made at the first write.
        online: another store than the embedded one in ``online/``.
    """

    def __init__(self, home: Path, online: OnlineStore | None = None) -> None:
        self.home = home
        self.registry = Registry(home / "registry")
        self.offline = OfflineStore(home / "offline")
        self.online = online or LmdbStore(home / "online")

    def apply(self, views: Sequence[FeatureView] = (), services: Sequence[FeatureService] = ()) -> list[str]:
        """Register views and services, with the views and transforms of these; see :meth:`Registry.apply`."""
        return self.registry.apply(views, services)

    def write(self, view: FeatureView, batch: pl.DataFrame) -> Commit:
        """Add rows to the offline store; see :meth:`OfflineStore.write`."""
        self.registry.check(view)
        return self.offline.write(view, batch)

    def push(self, view: FeatureView, batch: pl.DataFrame, now: datetime | None = None) -> Commit:
        """Write rows to both stores, durably; see :func:`~feature_store.materialize.push`."""
        self.registry.check(view)
        return push(self.offline, self.online, view, batch, now)

    def materialize(self, view: FeatureView) -> Materialized:
        """Bring the online store up to date; see :func:`~feature_store.materialize.materialize`."""
        self.registry.check(view)
        return materialize(self.offline, self.online, view)

    def get_historical_features(self, labels: pl.DataFrame, service: FeatureService) -> pl.DataFrame:
        """Labels with features as of their time; see :func:`~feature_store.offline.history.get_historical_features`."""
        return get_historical_features(self.offline, labels, service)

    def get_online_features(
        self,
        service: FeatureService,
        keys: Keys,
        request: Mapping[str, Sequence[Any] | Array] | None = None,
        now_us: int | None = None,
    ) -> OnlineFeatures:
        """Features of a request; see :func:`~feature_store.read.get_online_features`."""
        return get_online_features(self.online, service, keys, request, now_us)

    def freshness(self, now: datetime | None = None) -> list[Freshness]:
        """Of every registered view; see :class:`~feature_store.freshness.Freshness`."""
        clock = now or datetime.now(UTC)
        return [freshness(self.offline, self.online, view, clock) for view in self.registry.views()]

    def replay(self, served: pl.DataFrame, service: FeatureService) -> list[Skew]:
        """Compare what was served with what training would see; see :func:`~feature_store.skew.replay`."""
        return replay(self.offline, served, service)

    def statistics_page(self) -> str:
        """HTML with histograms of every registered view."""
        return render_statistics(self.offline, self.registry.views())

    def close(self) -> None:
        self.online.close()
