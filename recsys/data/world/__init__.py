"""A generated world: illustrated notes, readers with known tastes, and the log they leave; every answer is known."""

from recsys.data.world.truth import Truth
from recsys.data.world.world import World, WorldConfig, generate

__all__ = ["Truth", "World", "WorldConfig", "generate"]
