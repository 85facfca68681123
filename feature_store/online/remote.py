"""RedisStore: the online store that many hosts share. One key for each row, one MGET for each view of a request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import redis

from feature_store.definitions import Array, FeatureView
from feature_store.exceptions import StoreError
from feature_store.records import Key, absent

BATCH_ROWS = 5_000  # in one call of the script, during which the server does nothing else
PUT_NEWER = """
local held, stored = redis.call('MGET', unpack(KEYS)), 0
for place, key in ipairs(KEYS) do
  local newer = true
  if held[place] then  -- compared as numbers: strings would be compared by the server's locale
    local event, created = struct.unpack('>i8i8', ARGV[place])
    local old_event, old_created = struct.unpack('>i8i8', held[place])
    newer = event > old_event or (event == old_event and created >= old_created)
  end
  if newer then
    redis.call('SET', key, ARGV[place])
    stored = stored + 1
  end
end
return stored
"""


class RedisStore:
    """See :class:`~feature_store.online.base.OnlineStore`.

    A write is as durable as the server is set up to be: what is acknowledged survives its death with
    ``appendonly yes`` and ``appendfsync always``. What it loses, a materialisation after ``advance(view, 0)`` restores.

    Args:
        url: of the server, such as ``redis://localhost:6379/0``.
        prefix: of every key, where several stores share a server.
    """

    def __init__(self, url: str, prefix: str = "features") -> None:
        self.url = url
        self.prefix = prefix
        self._client = redis.Redis.from_url(url)
        self._put_newer = self._client.register_script(PUT_NEWER)
        self._checked: set[tuple[str, str]] = set()

    def put_many(self, view: FeatureView, keys: Sequence[Key], records: Array) -> int:
        self._check_layout(view)
        packed = np.ascontiguousarray(records, view.record).view(f"V{view.record.itemsize}").tolist()
        names = self._names(view, keys)
        stored = 0
        try:
            for start in range(0, len(names), BATCH_ROWS):
                end = start + BATCH_ROWS
                stored += int(self._put_newer(keys=names[start:end], args=packed[start:end]))
        except redis.RedisError as error:
            raise self._refusal(error) from error
        return stored

    def get_many(self, view: FeatureView, keys: Sequence[Key]) -> Array:
        self._check_layout(view)
        none = absent(view).tobytes()
        try:
            found = self._client.mget(self._names(view, keys)) if keys else []
        except redis.RedisError as error:
            raise self._refusal(error) from error
        packed: list[Any] = [none if record is None else record for record in found]
        return np.frombuffer(b"".join(packed), view.record)

    def watermark(self, view: FeatureView) -> int:
        try:
            return int(self._client.get(self._fact(view, "watermark")) or 0)
        except redis.RedisError as error:
            raise self._refusal(error) from error

    def advance(self, view: FeatureView, watermark: int) -> None:
        try:
            self._client.set(self._fact(view, "watermark"), watermark)
        except redis.RedisError as error:
            raise self._refusal(error) from error

    def settle(self, view: FeatureView) -> None:
        """Nothing to do: the server keeps its own order."""

    def close(self) -> None:
        self._client.close()

    def _names(self, view: FeatureView, keys: Sequence[Key]) -> list[bytes]:
        start = f"{self.prefix}:{view.label}:".encode()
        return [start + key for key in keys]

    def _fact(self, view: FeatureView, name: str) -> str:
        return f"{self.prefix}.{name}:{view.label}"

    def _check_layout(self, view: FeatureView) -> None:
        if (view.label, view.hash) in self._checked:
            return
        try:
            self._client.set(self._fact(view, "layout"), view.hash, nx=True)
            held = self._client.get(self._fact(view, "layout"))
        except redis.RedisError as error:
            raise self._refusal(error) from error
        if held != view.hash.encode():
            raise StoreError(
                f"{self.url} holds records of another {view.label} ({held!r}, this one is {view.hash}).",
                "Raise the version of the view.",
            )
        self._checked.add((view.label, view.hash))

    def _refusal(self, error: redis.RedisError) -> StoreError:
        return StoreError(f"The online store at {self.url} cannot be used ({error}).", "Start it, or name another.")
