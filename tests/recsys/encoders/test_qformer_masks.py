from __future__ import annotations

import torch

from recsys.encoders.qformer_masks import bi_directional, multimodal_causal, uni_modal

REAL = torch.tensor([[True, True, False], [True, True, True]])


def drawn(mask: torch.Tensor) -> list[str]:
    return ["".join("x" if seen else "." for seen in row) for row in mask.tolist()]


def test_for_contrast_neither_side_sees_the_other() -> None:
    assert drawn(uni_modal(2, REAL)[0, 0]) == ["xx...", "xx...", "..xx.", "..xx.", "..xx."]
    assert drawn(uni_modal(0, REAL)[1, 0]) == ["xxx", "xxx", "xxx"]


def test_for_matching_all_see_all_but_padding() -> None:
    assert drawn(bi_directional(2, REAL)[0, 0]) == ["xxxx."] * 5
    assert drawn(bi_directional(2, REAL)[1, 0]) == ["xxxxx"] * 5


def test_for_captioning_a_token_sees_the_queries_and_its_past() -> None:
    seen = multimodal_causal(2, 3, torch.device("cpu"))
    assert drawn(seen) == ["xx...", "xx...", "xxx..", "xxxx.", "xxxxx"]
