from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.models.chinese_clip.modeling_chinese_clip import ChineseCLIPModel
from transformers.models.clip.modeling_clip import CLIPModel

from recsys.encoders.clip_layers import image_state, text_state
from recsys.encoders.text import TEXTS_OF_LIKE_LENGTH, TextEncoder

TEXTS = ["red", "a photo of a dog and a red ball in the sea", "blue sea", "green hills", ""]


def gradients(model: Any, pooled: Tensor) -> dict[str, Tensor]:
    torch.manual_seed(0)
    (pooled * torch.randn(pooled.shape)).sum().backward()
    taken = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return taken


def assert_equal(model: Any, ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    mine, expected = gradients(model, ours), gradients(model, theirs)
    assert mine.keys() == expected.keys() == dict(model.named_parameters()).keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(mine[name], gradient, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize(("kind", "folder"), [(CLIPModel, "clip_folder"), (ChineseCLIPModel, "chinese_clip_folder")])
def test_one_token_of_the_last_layer_is_the_same_as_of_all(
    kind: Any, folder: str, request: pytest.FixtureRequest
) -> None:
    model = kind.from_pretrained(request.getfixturevalue(folder)).vision_model
    pixels = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    assert_equal(model, image_state(model, pixels), model(pixel_values=pixels).pooler_output)


def test_a_text_is_read_at_its_end(clip_folder: Path) -> None:
    model, encoder = CLIPModel.from_pretrained(clip_folder).text_model, TextEncoder.from_checkpoint(clip_folder, 24)
    tokens = torch.from_numpy(encoder.tokens(TEXTS))
    end = (tokens == encoder.pad_id).int().argmax(dim=1)
    assert end.unique().tolist() == [1, 3, 13]
    assert_equal(model, text_state(model, tokens, end), model(input_ids=tokens).pooler_output)


@pytest.mark.parametrize("folder", ["clip_folder", "chinese_clip_folder"])
def test_texts_of_like_length_go_together_and_come_back_in_order(folder: str, request: pytest.FixtureRequest) -> None:
    encoder = TextEncoder.from_checkpoint(request.getfixturevalue(folder), 24).eval()
    texts = [f"{text} {number % 7}" for number in range(2 * TEXTS_OF_LIKE_LENGTH // len(TEXTS) + 1) for text in TEXTS]
    assert len(texts) >= 2 * TEXTS_OF_LIKE_LENGTH
    tokens = torch.from_numpy(encoder.tokens(texts))
    with torch.inference_mode():
        one_by_one = torch.cat([encoder(row[None]) for row in tokens])
        torch.testing.assert_close(encoder(tokens), one_by_one, rtol=0, atol=1e-5)


def test_padding_costs_nothing(clip_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, columns = TextEncoder.from_checkpoint(clip_folder, 24).eval(), []
    embeddings: Any = encoder.backbone.get_submodule("embeddings")
    inner: Callable[..., Tensor] = embeddings.forward

    def counted(input_ids: Tensor) -> Tensor:
        columns.append(tuple(input_ids.shape))
        return inner(input_ids=input_ids)

    monkeypatch.setattr(embeddings, "forward", counted)
    short, long = ["red"] * TEXTS_OF_LIKE_LENGTH, [TEXTS[1]] * TEXTS_OF_LIKE_LENGTH
    encoder(torch.from_numpy(encoder.tokens([*long, *short])))
    assert [rows for rows, _ in columns] == [TEXTS_OF_LIKE_LENGTH] * 2
    first_end = [row.tolist().index(encoder.pad_id) + 1 for row in encoder.tokens(["red", TEXTS[1]])]
    assert [length for _, length in columns] == first_end
