"""What a feature is: entities, fields and feature views, in Feast's words. Holds declarations only, reads no data."""

from __future__ import annotations

import hashlib
import json
import math
from datetime import timedelta
from functools import cached_property
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import BaseModel, ConfigDict, StringConstraints, field_validator, model_validator

EVENT_TIME = "event_time"
"""Column: when a row's values began to hold."""
CREATED_TIME = "created_time"
"""Column: when the row became known, not before its event time; default: at its event time."""
REQUEST_TIME = "request_time"
"""Column of labels and of requests: as of when features are asked."""
TIME = pl.Datetime("us", "UTC")
Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9]*(_[a-z0-9]+)*$")]
"""Of files and columns; no double underscore, which joins view and field."""
DType = Literal["bool", "int8", "int16", "int32", "int64", "float16", "float32", "float64"]
Array = npt.NDArray[Any]
RESERVED = (EVENT_TIME, CREATED_TIME, REQUEST_TIME, "row_age")


class Definition(BaseModel):
    """Base of all declarations: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", ignored_types=(cached_property,))


class Entity(Definition):
    """What features describe, such as a user; ``key`` is the column that names one."""

    name: Name
    key: Name
    dtype: Literal["string", "int64"] = "string"
    description: str = ""

    @property
    def polars(self) -> pl.DataType:
        return pl.String() if self.dtype == "string" else pl.Int64()


class Field(Definition):
    """One feature: its type, what stands for a missing value, and what a good batch looks like.

    Attributes:
        dtype: of the values, or of the numbers of a vector.
        shape: ``()`` for a number, ``(256,)`` for an embedding of that width.
        default: what is served where there is no value; ``None`` is NaN. A NaN that is written counts as missing.
        low: smallest value a batch may hold.
        high: largest value a batch may hold.
        max_null_share: of a batch.
        max_distinct: different values in a batch; for categories.
        max_drift: population stability index against the batch before (0.1 is little, 0.25 is much).
        description: what it says, and in which unit.
    """

    name: Name
    dtype: DType = "float32"
    shape: tuple[int, ...] = ()
    default: float | int | bool | None = None
    low: float | None = None
    high: float | None = None
    max_null_share: float = 1.0
    max_distinct: int | None = None
    max_drift: float | None = None
    description: str = ""

    @field_validator("shape")
    @classmethod
    def _flat(cls, shape: tuple[int, ...]) -> tuple[int, ...]:
        if len(shape) > 1 or any(width < 1 for width in shape):
            raise ValueError(f"shape {shape} is neither a number () nor a vector (width,)")
        return shape

    @model_validator(mode="after")
    def _has_default(self) -> Field:
        if self.default is None and not self.dtype.startswith("float"):
            raise ValueError(f"{self.name} is of type {self.dtype}, which has no NaN: give it a default")
        return self

    @property
    def numpy(self) -> np.dtype[Any]:
        """Little-endian type of one value, with its shape."""
        return np.dtype((np.dtype(self.dtype).newbyteorder("<"), self.shape))

    @property
    def polars(self) -> pl.DataType:
        number = _POLARS[self.dtype]
        return pl.Array(number, self.shape[0]) if self.shape else number

    @property
    def missing(self) -> float | int | bool:
        return math.nan if self.default is None else self.default


class FeatureView(Definition):
    """Features of one entity, or of a pair of them, that are written together and expire together.

    Attributes:
        name: lower case; features are called ``<name>__<field>``.
        version: raised whenever the meaning changes; versions live side by side in every store.
        entities: whose key columns identify a row.
        fields: the features, in the order in which a record holds them.
        ttl: how long after its event time a row holds, the last instant included; ``None``: for ever.
        source: what the rows are computed from.
        owner: who answers for it.
        description: one sentence for people.
    """

    name: Name
    version: int = 1
    entities: tuple[Entity, ...]
    fields: tuple[Field, ...]
    ttl: timedelta | None = None
    source: str = ""
    owner: str = ""
    description: str = ""

    @model_validator(mode="after")
    def _is_sound(self) -> FeatureView:
        names = [*(entity.key for entity in self.entities), *(field.name for field in self.fields)]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated or not self.entities or not self.fields:
            raise ValueError(f"view {self.name} needs entities and fields of different names; repeated: {repeated}")
        taken = sorted(set(names) & set(RESERVED))
        if taken:
            raise ValueError(f"view {self.name} calls a column {taken[0]}, which has a meaning of its own")
        if self.ttl is not None and self.ttl <= timedelta(0):
            raise ValueError(f"view {self.name} has a TTL of {self.ttl}; give a positive one, or none")
        return self

    @property
    def label(self) -> str:
        return f"{self.name}@{self.version}"

    @property
    def keys(self) -> list[str]:
        """Names of the key columns."""
        return [entity.key for entity in self.entities]

    @cached_property
    def features(self) -> dict[str, Field]:
        """Full names of the features and their fields."""
        return {f"{self.name}__{field.name}": field for field in self.fields}

    @cached_property
    def record(self) -> np.dtype[Any]:
        """A packed row. The times are big-endian microseconds, so that bytes compare as the times do."""
        times = [(EVENT_TIME, ">i8"), (CREATED_TIME, ">i8")]
        return np.dtype([*times, *((field.name, field.numpy) for field in self.fields)])

    @cached_property
    def ttl_us(self) -> int | None:
        return None if self.ttl is None else self.ttl // timedelta(microseconds=1)

    @property
    def meaning(self) -> dict[str, Any]:
        """All that a value of it depends on; descriptions, owner and the checks of a batch may change without harm."""
        return {
            "entities": [entity.model_dump(include={"name", "key", "dtype"}) for entity in self.entities],
            "fields": {
                field.name: field.model_dump(mode="json", include={"dtype", "shape", "default"})
                for field in self.fields
            },
            "order": [field.name for field in self.fields],
            "ttl_seconds": None if self.ttl is None else self.ttl.total_seconds(),
            "source": self.source,
        }

    @cached_property
    def hash(self) -> str:
        return hash_of(self.meaning)


def hash_of(meaning: Any) -> str:
    return hashlib.sha256(json.dumps(meaning, sort_keys=True).encode()).hexdigest()[:16]


_POLARS: dict[str, pl.DataType] = {
    "bool": pl.Boolean(),
    "int8": pl.Int8(),
    "int16": pl.Int16(),
    "int32": pl.Int32(),
    "int64": pl.Int64(),
    "float16": pl.Float16(),
    "float32": pl.Float32(),
    "float64": pl.Float64(),
}
