from __future__ import annotations

from pathlib import Path

import torch
from transformers.activations import QuickGELUActivation

from recsys.encoders.image import ImageEncoder
from recsys.encoders.quick_gelu import QuickGelu
from recsys.encoders.text import TextEncoder


def test_it_is_the_activation_of_transformers_with_its_gradient() -> None:
    x = torch.linspace(-12, 12, 1001, dtype=torch.float64).requires_grad_()
    ours, theirs = (activation(x) for activation in (QuickGelu(), QuickGELUActivation()))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    mine, expected = (torch.autograd.grad(y.square().sum(), x)[0] for y in (ours, theirs))
    torch.testing.assert_close(mine, expected, rtol=0, atol=1e-12)


def test_both_encoders_of_a_checkpoint_have_it_and_restored_ones_too(clip_folder: Path) -> None:
    image, text = ImageEncoder.from_checkpoint(clip_folder), TextEncoder.from_checkpoint(clip_folder, 24)
    again = (ImageEncoder.restore(image.describe()), TextEncoder.restore(text.describe(), text.tokenizer))
    for encoder in (image, text, *again):
        kinds = [type(module) for module in encoder.modules()]
        assert kinds.count(QuickGelu) == 2
        assert QuickGELUActivation not in kinds
