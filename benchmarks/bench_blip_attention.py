"""BLIP of ours, with fused attention and shared keys and values, against the eager BLIP of transformers.

Same weights (a random checkpoint in the hub's format), batch and thread; text lengths vary as captions do. Run:
``python benchmarks/bench_blip_attention.py``. Prints a table and writes ``benchmarks/results/blip_attention.json``. The
figures to trust are the ratios of one run.
"""

from __future__ import annotations

import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import transformers
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F
from transformers.models.blip.configuration_blip import BlipConfig as HubConfig
from transformers.models.blip.modeling_blip import BlipForConditionalGeneration, BlipForImageTextRetrieval

from recsys.encoders.grounded_text import GroundedTextConfig
from recsys.encoders.tokenizer import train_tokenizer
from recsys.towers.blip import BlipConfig, BlipTower

BATCH, PIXELS, SHORTEST, RUNS = 16, 224, 8, 5
SIZES = {"hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 6, "num_attention_heads": 6}
RERANKED = 32
RESULTS = Path(__file__).parent / "results" / "blip_attention.json"


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    matcher, ours = _pair(BlipForImageTextRetrieval)
    writer, ours_writing = _pair(BlipForConditionalGeneration)
    pixels = torch.randint(0, 256, (BATCH, 3, PIXELS, PIXELS), dtype=torch.uint8)
    scaled = (pixels.float() / 255 - ours.image.mean) / ours.image.std
    tokens = _tokens(ours)
    mask = (tokens != ours.text.pad_id).long()
    led = {
        token: torch.cat([torch.full_like(tokens[:, :1], token), tokens[:, 1:]], dim=1)
        for token in (ours.text.match_id, ours.text.write_id)
    }
    labels = tokens.masked_fill(mask == 0, -100)

    def their_writing() -> Tensor:
        writer.zero_grad()
        loss = writer(scaled, led[ours.text.write_id], attention_mask=mask, labels=labels).loss
        loss.backward()
        return loss.detach()

    def our_writing() -> Tensor:
        ours_writing.zero_grad()
        pictures = ours_writing.text.bert.look(ours_writing.image.states(pixels))
        logits, following, _ = ours_writing.text.predict(tokens, pictures)
        loss = F.cross_entropy(logits, following)
        loss.backward()
        return loss.detach()

    @torch.inference_mode()
    def their_matching() -> Tensor:
        odds = matcher(led[ours.text.match_id], scaled, attention_mask=mask).itm_score
        return odds[:, 1] - odds[:, 0]

    @torch.inference_mode()
    def our_matching() -> Tensor:
        return ours.match_logits(tokens, pixels)

    with torch.inference_mode():
        states = ours.image.states(pixels)[torch.arange(RERANKED) % BATCH]
    query = led[ours.text.match_id][:1, :SHORTEST].expand(RERANKED, -1)

    @torch.inference_mode()
    def their_reranking() -> Tensor:
        seen = torch.ones(states.shape[:2], dtype=torch.long)
        hidden = matcher.text_encoder(
            query,
            attention_mask=torch.ones_like(query),
            encoder_hidden_states=states,
            encoder_attention_mask=seen,
        )
        odds = matcher.itm_head(hidden.last_hidden_state[:, 0])
        return odds[:, 1] - odds[:, 0]

    @torch.inference_mode()
    def our_reranking() -> Tensor:
        return ours.match_logits(tokens[:1].expand(RERANKED, -1), states)

    found: dict[str, dict[str, float]] = {}
    for name, theirs, own in (
        (f"match {BATCH} pairs, forward", their_matching, our_matching),
        (f"re-rank {RERANKED} cached pictures, forward", their_reranking, our_reranking),
        (f"caption {BATCH} pairs, forward + backward", their_writing, our_writing),
    ):
        torch.testing.assert_close(own(), theirs(), atol=1e-4, rtol=1e-4)
        peer, mine = _medians(theirs, own)
        found[name] = {"transformers_seconds": peer, "ours_seconds": mine, "ratio": peer / mine}
    _show(found)


def _pair(kind: Any) -> tuple[Any, BlipTower]:
    """A random checkpoint as transformers opens it, and as we do."""
    tokenizer = train_tokenizer([chr(97 + i % 26) * (1 + i // 26) for i in range(52)] * 2, 100)
    known = tokenizer.get_vocab_size()
    text = {"vocab_size": 8000, "max_position_embeddings": 64, "bos_token_id": known, "sep_token_id": 3, **SIZES}
    vision = {"image_size": PIXELS, "patch_size": 16, "initializer_range": 0.02, **SIZES}
    model = kind(HubConfig(text_config=text, vision_config=vision))
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        tokenizer.save(str(Path(folder) / "tokenizer.json"))
        settings = BlipConfig(checkpoint=Path(folder), text=GroundedTextConfig(max_tokens=64), queue=0, alpha=0.0)
        tower = BlipTower.create(settings, [])
    return model.eval(), tower.eval()


def _tokens(tower: BlipTower) -> Tensor:
    """Captions of 8 to 23 tokens, padded to the longest."""
    tokens = torch.full((BATCH, SHORTEST + BATCH - 1), tower.text.pad_id)
    for row in range(BATCH):
        length = SHORTEST + row
        tokens[row, :length] = torch.randint(10, 40, (length,))
        tokens[row, 0], tokens[row, length - 1] = 2, tower.text.end_id
    return tokens


def _medians(*calls: Callable[[], Tensor]) -> list[float]:
    """Median seconds of each, run in turn, so that a slow minute of the machine slows all."""
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(RUNS):
        for call, seconds in zip(calls, times, strict=True):
            started = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - started)
    return [statistics.median(seconds) for seconds in times]


def _show(found: dict[str, dict[str, float]]) -> None:
    table = Table(title=f"BLIP, width {SIZES['hidden_size']}, {PIXELS} px, one thread, median of {RUNS}")
    for column in ("work", "transformers ms", "ours ms", "ratio"):
        table.add_column(column)
    for name, figures in found.items():
        seconds = (figures["transformers_seconds"], figures["ours_seconds"])
        table.add_row(name, *(f"{1000 * one:,.0f}" for one in seconds), f"{figures['ratio']:.2f}")
    Console().print(table)
    made_on = {
        "date": datetime.now(UTC).isoformat(),
        "machine": platform.processor(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(made_on | {"systems": found}, indent=2))


if __name__ == "__main__":
    main()
