"""Where tensors live: on the GPU where there is one."""

from __future__ import annotations

import torch


def best_device() -> torch.device:
    """The current GPU, or the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
