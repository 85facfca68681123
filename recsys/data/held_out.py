"""Items held out by an attribute, such as the authors' own split: nothing may learn from them."""

from __future__ import annotations

from collections import Counter

import numpy as np
from pydantic import Field

from recsys import schemas
from recsys.config import BaseConfig
from recsys.data.dataset import Dataset
from recsys.exceptions import ConfigError
from recsys.types import RowArray

_NAMED = 20


class HeldOutConfig(BaseConfig):
    """Which items are held out: those whose attribute has one of the values."""

    attribute: str
    values: tuple[str, ...] = Field(min_length=1)


def held_out_rows(data: Dataset, config: HeldOutConfig) -> RowArray:
    """Rows of the items that are held out, ascending.

    Raises:
        ConfigError: no item has the attribute, or one of the values; each of them must be there, since a value that is
            misspelt would leave its items among those that are learned from.
    """
    attributes = data.items[schemas.ATTRIBUTES].to_list()
    values = [(of_item or {}).get(config.attribute) for of_item in attributes]
    found = Counter(value for value in values if value is not None)
    if not found:
        names = sorted({name for of_item in attributes for name in of_item or {}})
        raise ConfigError(
            f"No item has an attribute {config.attribute!r}; there are {', '.join(names) or 'none'}.",
            "Name one of them, or map it: attributes = [...] under [items].",
        )
    if absent := [value for value in config.values if value not in found]:
        named = ", ".join(f"{value!r} ({count:,})" for value, count in found.most_common(_NAMED))
        others = f" and {len(found) - _NAMED:,} others" if len(found) > _NAMED else ""
        raise ConfigError(
            f"No item has {config.attribute} {absent[0]!r}; there are {named}{others}.", "Hold out one of them."
        )
    return np.flatnonzero([value in config.values for value in values]).astype(np.int32)
