"""The base of every config: frozen, and an unknown key is an error rather than a silent default."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class BaseConfig(BaseModel):
    """Settings of one component; stands in the same file as the component it configures."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())
