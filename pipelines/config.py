"""Settings: the one place that reads configuration files.

A run is described by one TOML file whose sections are the configs of the components; an unknown key is an error.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from recsys.config import BaseConfig
from recsys.exceptions import ConfigError

CONFIGS = Path(__file__).parent / "configs"
WORLD = CONFIGS / "world.toml"
DEFAULT = CONFIGS / "default.toml"

C = TypeVar("C", bound=BaseConfig)


def read_toml(path: Path) -> dict[str, Any]:
    """Contents of a TOML file.

    Raises:
        ConfigError: it is missing or not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.", f"Examples stand in {CONFIGS}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}.") from None


def validated(model: type[C], values: Mapping[str, Any], origin: str) -> C:
    """A config from plain values.

    Raises:
        ConfigError: naming every key that is unknown or wrong, and where it was written.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc'])) or origin}: {fault['msg']}" for fault in error.errors())
        raise ConfigError(f"{origin} cannot be used: {faults}.", "Correct these keys.") from None


def merged(defaults: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """``overrides`` over ``defaults``, table by table."""
    out = dict(defaults)
    for key, value in overrides.items():
        both_tables = isinstance(value, Mapping) and isinstance(out.get(key), Mapping)
        out[key] = merged(out[key], value) if both_tables else value
    return out
