"""Weights of a module by name, each tensor once: parameters that a family shares between roles are saved one time."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from recsys.exceptions import ArtifactError


def unique_weights(module: nn.Module) -> dict[str, Tensor]:
    """The state of a module without the second and further names of shared parameters."""
    found: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in module.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            found[name] = tensor.detach()
    return found


def load_weights(module: nn.Module, weights: Mapping[str, Tensor], optional: tuple[str, ...] = ()) -> None:
    """Fill a module with what :func:`unique_weights` gave.

    Args:
        module: filled in place.
        weights: tensors by name.
        optional: beginnings of names that may be missing.

    Raises:
        ArtifactError: names are missing or unknown.
    """
    wanted = {name for name in unique_weights(module) if not name.startswith(optional)}
    missing, unknown = sorted(wanted - weights.keys()), sorted(weights.keys() - module.state_dict().keys())
    if missing or unknown:
        raise ArtifactError(
            f"The weights do not fit the tower: missing {missing[:3]}, unknown {unknown[:3]}.", "Train it again."
        )
    module.load_state_dict(dict(weights), strict=False)
