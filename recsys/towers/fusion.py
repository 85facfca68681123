"""GatedFusion: one vector of two modalities that learns when to listen to which (decision 4)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recsys.towers.tower import unit


class GatedFusion(nn.Module):
    """``g * image + (1 - g) * text`` with a gate per dimension from both states; g is 0 or 1 where one side is missing.

    Args:
        text_width: of the text states the gate sees.
        image_width: of the image states the gate sees.
        width: of the two projections that are mixed, and of the result.
    """

    def __init__(self, text_width: int, image_width: int, width: int) -> None:
        super().__init__()
        self.gate = nn.Linear(text_width + image_width, width)

    def forward(
        self,
        text_state: Tensor,
        image_state: Tensor,
        text: Tensor,
        image: Tensor,
        has_text: Tensor,
        has_image: Tensor,
    ) -> dict[str, Tensor]:
        """The three read-outs, unit rows ``[n, width]``, zero where nothing is there.

        Args:
            text_state: ``[n, text_width]``.
            image_state: ``[n, image_width]``.
            text: projection of the text, ``[n, width]``.
            image: projection of the picture, ``[n, width]``.
            has_text: bool ``[n]``.
            has_image: bool ``[n]``.
        """
        here, there = has_text[:, None], has_image[:, None]
        text, image = text * here, image * there
        gate = torch.sigmoid(self.gate(torch.cat([text_state * here, image_state * there], dim=1)))
        gate = torch.where(here & there, gate, there.to(gate.dtype))
        return {"fused": unit(gate * image + (1 - gate) * text), "text": unit(text), "image": unit(image)}
