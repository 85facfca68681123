"""LoRA (2106.09685) by ``peft``: small matrices are trained beside frozen ones, and added to them at the end."""

from __future__ import annotations

from peft import LoraConfig as PeftConfig
from peft import inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from pydantic import Field
from torch import nn

from recsys.config import BaseConfig
from recsys.exceptions import ConfigError


class LoraConfig(BaseConfig):
    """Where the matrices stand: in the linear layers of this name in these parts of the tower."""

    parts: tuple[str, ...] = Field(min_length=1)  # such as "text.backbone" or "text.model"
    layers: tuple[str, ...] = ("q_proj", "v_proj", "query", "value")
    rank: int = Field(default=8, ge=1)
    alpha: int = Field(default=16, ge=1)


def add_lora(tower: nn.Module, config: LoraConfig) -> None:
    """Freeze the named parts and put trainable matrices beside their layers.

    Raises:
        ConfigError: the tower has no such part, or the part no such layer.
    """
    parts = dict(tower.named_modules())
    for name in config.parts:
        if name not in parts or not name:
            raise ConfigError(
                f"The tower has no part {name!r}.", f"There are {', '.join(top for top in _tops(tower))}."
            )
        try:
            inject_adapter_in_model(
                PeftConfig(r=config.rank, lora_alpha=config.alpha, target_modules=list(config.layers)), parts[name]
            )
        except ValueError:
            raise ConfigError(
                f"{name!r} has no layers {', '.join(config.layers)}.", "Name its linear layers in trainer.lora.layers."
            ) from None


def merge_lora(tower: nn.Module) -> None:
    """Add the matrices to the layers they stand beside; the tower is an ordinary one again."""
    for name, module in list(tower.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge()
            parent, _, child = name.rpartition(".")
            setattr(tower.get_submodule(parent), child, module.get_base_layer())


def _tops(tower: nn.Module) -> list[str]:
    return [
        name
        for name, module in tower.named_modules()
        if 0 < name.count(".") + bool(name) <= 2 and any(module.children())
    ]
