"""Training on cached states of a frozen image encoder beside running that encoder at every step.

How much the cache saves depends on what is left to train: with CLIP's own text encoder a step is that encoder, with a
small one from scratch it is little. Both are measured, with the scaled-down CLIP and with a ViT-B/32 in full size.

    python benchmarks/bench_feature_cache.py     # photos: --data, else the generated world
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from bench_tower_training import BATCH, READY, Ours, learn, timed, write
from rich.console import Console
from rich.table import Table
from small_clip import (
    PATCH,
    POSITIONS,
    SPACE,
    made_on,
    matmul_rate,
    median,
    parser_for,
    texts_of,
    write_checkpoint,
    write_photos,
)
from transformers.models.clip.configuration_clip import CLIPVisionConfig
from transformers.models.clip.modeling_clip import CLIPVisionModel

from recsys.data.dataset import Dataset
from recsys.encoders.image import ImageConfig
from recsys.encoders.text import TextConfig
from recsys.towers.clip import ClipConfig

PHOTOS = BATCH * READY
CACHED_STEPS = 8  # a window
SMALL_TEXT = TextConfig(max_tokens=32, vocab_size=8000, width=128, layers=2, heads=4)
RESULTS = Path(__file__).parent / "results" / "feature_cache.json"
CASES = {  # image encoder, text encoder (None: the CLIP's)
    "this CLIP's image encoder, its text encoder trains": ("clip", None),
    "this CLIP's image encoder, a text encoder of 2 x 128 trains": ("clip", SMALL_TEXT),
    "ViT-B/32 in full size, a text encoder of 2 x 128 trains": ("vit-b-32", SMALL_TEXT),
}


class Frozen(Ours):
    """An image encoder that is never trained, and a text encoder that is."""

    def __init__(self, folder: Path, image: str, text: TextConfig | None, cached: bool) -> None:
        text = text or TextConfig(checkpoint=folder / "clip", max_tokens=POSITIONS)
        encoder = ImageConfig(checkpoint=folder / image, frozen=cached)
        super().__init__(folder, torch.float32, ClipConfig(text=text, image=encoder, width=SPACE))
        self.tower.image.frozen = True  # and fed with pixels, unless it was from the start
        self.tower.image.backbone.requires_grad_(False)


def measured(folder: Path, image: str, text: TextConfig | None, rounds: int) -> dict[str, float]:
    sides = {"uncached": Frozen(folder, image, text, False), "cached": Frozen(folder, image, text, True)}
    steps = {"uncached": 1, "cached": CACHED_STEPS}
    ready = {name: [side.ready(number) for number in range(READY)] for name, side in sides.items()}
    windows: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    for number in range(rounds + 1):  # the first one warms up
        for name, side in sides.items():
            window = timed(partial(learn, side, (ready[name][step % READY] for step in range(steps[name]))))
            if number:
                windows[name].append(window)
    found = {}
    for measure, per in (("seconds", "per_second"), ("cpu_seconds", "per_cpu_second")):
        for name, taken in windows.items():
            found[f"{name}_pairs_{per}"] = steps[name] * BATCH / median([window[measure] for window in taken])
        found[f"ratio_pairs_{per}"] = found[f"cached_pairs_{per}"] / found[f"uncached_pairs_{per}"]
    return found


def show(cases: Mapping[str, Mapping[str, float]]) -> None:
    table = Table(title=f"Image encoder frozen, batch {BATCH}: its states cached, or computed at each step")
    for column in ("", "uncached pairs/s", "cached pairs/s", "ratio by clock", "ratio by CPU"):
        table.add_column(column)
    for name, of in cases.items():
        rates = (f"{of[f'{kind}_pairs_per_second']:,.1f}" for kind in ("uncached", "cached"))
        ratios = (f"{of[f'ratio_pairs_{per}']:.1f}" for per in ("per_second", "per_cpu_second"))
        table.add_row(name, *rates, *ratios)
    Console(width=160).print(table)


def main() -> None:
    arguments = parser_for(__doc__ or "", RESULTS, rounds=5).parse_args()
    torch.set_num_threads(arguments.threads)
    results: dict[str, Any] = {**made_on(("torch", "transformers", "pillow")), "batch": BATCH, "photos": PHOTOS}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        results["source"] = write_photos(folder / "photos", PHOTOS, arguments.data)
        write_checkpoint(folder / "clip", texts_of(Dataset(folder / "photos")))
        CLIPVisionModel(CLIPVisionConfig(patch_size=PATCH)).save_pretrained(folder / "vit-b-32")
        results["matmul_gflops_float32"] = matmul_rate()
        results["cases"] = {name: measured(folder, *case, arguments.rounds) for name, case in CASES.items()}
    show(results["cases"])
    write(results, arguments.results)


if __name__ == "__main__":
    main()
