from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from recsys.encoders.causal_lm import ARCHITECTURES
from recsys.encoders.decoder_attention import attend_fast


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_a_model_gives_the_same_states_and_attends_in_float32(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    config, model_class = ARCHITECTURES[kind]
    sizes = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "pad_token_id": 1}
    grouped = {} if kind == "opt" else {"num_key_value_heads": 2}
    model = model_class(config(**sizes, **grouped)).eval()
    ids = torch.randint(2, 50, (3, 9))
    mask = torch.ones(3, 9, dtype=torch.long)
    mask[1, :4] = 0
    with torch.no_grad():
        before = [model(ids, attention_mask=given).logits for given in (None, mask)]
        attend_fast(model)
        after = [model(ids, attention_mask=given).logits for given in (None, mask)]
    torch.testing.assert_close(after[0], before[0])
    torch.testing.assert_close(after[1][mask.bool()], before[1][mask.bool()])

    seen = []
    kernel = F.scaled_dot_product_attention

    def spied(query: torch.Tensor, *arguments: Any, **settings: Any) -> torch.Tensor:
        seen.append(query.dtype)
        return kernel(query, *arguments, **settings)

    monkeypatch.setattr(F, "scaled_dot_product_attention", spied)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = model(ids).logits
    assert seen == [torch.float32] * 2
    torch.testing.assert_close(rounded.float(), before[0], atol=0.05, rtol=0.05)
