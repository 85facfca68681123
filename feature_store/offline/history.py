"""get_historical_features: labels and the features that their requests saw or would have seen, for training."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from feature_store.definitions import CREATED_TIME, EVENT_TIME, REQUEST_TIME, TIME, Array, FeatureView
from feature_store.durable import sync
from feature_store.exceptions import RequestError
from feature_store.offline.point_in_time import in_order_of_time, point_in_time
from feature_store.offline.store import OfflineStore
from feature_store.recency import MICROSECONDS
from feature_store.service import FeatureService

CHUNK_ROWS = 1_000_000  # labels that are joined at once; decides the memory


def get_historical_features(store: OfflineStore, labels: pl.DataFrame, service: FeatureService) -> pl.DataFrame:
    """All labels, in their order, with the features of a service as of each label's time.

    Args:
        store: that holds the rows.
        labels: the key columns of the service's entities, ``request_time`` (UTC), columns that on-demand transforms
            take, and whatever else belongs to a label.
        service: names the features.

    Returns:
        The labels, a column for each feature, and ``<view>__event_time`` for each view: which row counted, or null.

    Raises:
        RequestError: a key, the time or an input of a transform is missing or of another type.
    """
    asked = _asked(labels, service)
    sorted_labels = in_order_of_time(asked)
    columns: dict[str, pl.Series] = {}
    inputs: dict[str, Array] = {}
    stamps = []
    for view in service.views:
        joined = point_in_time(sorted_labels, view, _relevant(store, view, service, asked), service.needed(view))
        *values, stamp = joined.get_columns()
        columns.update((column.name, column) for column in values)
        stamps.append(stamp)
        inputs[f"{view.name}__row_age"] = _age(asked[REQUEST_TIME], stamp)
    if service.transforms:
        inputs |= {name: column.to_numpy() for name, column in columns.items()}
        inputs |= {name: labels[name].to_numpy() for name in labels.columns if name not in inputs}
        inputs[REQUEST_TIME] = asked[REQUEST_TIME].to_numpy()
        for transform in service.transforms:
            inputs[transform.name] = transform(inputs, len(labels))
            columns[transform.name] = pl.Series(transform.name, inputs[transform.name], transform.output.polars)
    return labels.hstack([*(columns[name] for name in service.features), *stamps])


def write_historical_features(
    store: OfflineStore, labels: Path, service: FeatureService, out: Path, chunk_rows: int = CHUNK_ROWS
) -> int:
    """:func:`get_historical_features` for labels that do not fit into memory: from Parquet to Parquet, in order.

    Memory is that of one chunk, the rows of its keys, and nothing else. Labels in the order of their times are read
    fastest: a chunk then needs few days.

    Args:
        store: that holds the rows.
        labels: a Parquet file, or a folder of such files, read in the order of their names.
        service: names the features.
        out: folder for ``part-*.parquet``, which appears when it is whole.
        chunk_rows: labels that are joined at once.

    Returns:
        Number of labels.

    Raises:
        RequestError: ``out`` exists, or the labels do not fit the service.
    """
    if out.exists():
        raise RequestError(f"{out} exists.", "Name a folder that does not.")
    files = sorted(labels.glob("*.parquet")) if labels.is_dir() else [labels]
    work = out.with_name(f".{out.name}.{os.getpid()}")
    work.mkdir(parents=True)
    count = 0
    for number, chunk in enumerate(
        batch for file in files for batch in pq.ParquetFile(file).iter_batches(batch_size=chunk_rows)
    ):
        joined = get_historical_features(store, pl.DataFrame(chunk), service)
        joined.write_parquet(work / f"part-{number:06d}.parquet")
        sync(work / f"part-{number:06d}.parquet")
        count += len(joined)
    sync(work)
    work.rename(out)
    sync(out.parent)
    return count


def _asked(labels: pl.DataFrame, service: FeatureService) -> pl.DataFrame:
    """Key columns, and the time as microseconds."""
    for name in (*service.entities, REQUEST_TIME):
        if name not in labels.columns:
            raise RequestError(f"The labels have no column {name}.", f"Service {service.label} needs it.")
    taken = sorted(set(service.features) & set(labels.columns))
    if taken:
        raise RequestError(f"The labels have a column {taken[0]} already.", "Rename it, or drop it.")
    time = labels[REQUEST_TIME]
    if not isinstance(time.dtype, pl.Datetime) or time.null_count():
        raise RequestError(
            f"{REQUEST_TIME} is {time.dtype} with {time.null_count()} nulls.", "Give every label a UTC datetime."
        )
    utc = time.dt.replace_time_zone("UTC") if time.dtype.time_zone is None else time
    keys = []
    for name, entity in service.entities.items():
        try:
            keys.append(labels[name].cast(entity.polars))
        except pl.exceptions.PolarsError:
            raise RequestError(
                f"Key {name} is {labels[name].dtype} where {entity.dtype} is declared.", "Cast it."
            ) from None
    return pl.DataFrame([*keys, utc.cast(TIME).to_physical().alias(REQUEST_TIME)])


def _relevant(store: OfflineStore, view: FeatureView, service: FeatureService, asked: pl.DataFrame) -> pl.DataFrame:
    """Rows that can count for one of the labels."""
    fields = [field.name for field in service.needed(view).values()]
    columns = [*view.keys, EVENT_TIME, CREATED_TIME, *fields]
    if asked.is_empty():
        return store.scan(view, []).select(columns).collect()
    first, last = asked.select(
        pl.col(REQUEST_TIME).cast(TIME).min().alias("first"), pl.col(REQUEST_TIME).cast(TIME).max().alias("last")
    ).row(0)
    since = None if view.ttl is None else first - view.ttl
    files = store.files(view, since, last)
    rows = store.scan(view, files).select(columns)
    if any(file.last_created > last for file in files):
        rows = rows.filter(pl.col(CREATED_TIME) <= last)
    if sum(file.rows for file in files) > max(CHUNK_ROWS, 2 * len(asked)):
        if since is not None:
            rows = rows.filter(pl.col(EVENT_TIME) >= since - timedelta(microseconds=1))
        wanted = asked.lazy().select(view.keys).unique()
        rows = rows.join(wanted, on=view.keys, how="semi", maintain_order="left")
    return rows.collect(engine="streaming")


def _age(request_time: pl.Series, stamp: pl.Series) -> Array:
    seconds = (request_time - stamp.to_physical()) / MICROSECONDS
    return np.asarray(seconds.fill_null(float("nan")).to_numpy())
