"""Encoding a catalogue beside a plain ``transformers`` loop: items a second, from stored photo and text to vectors.

The same CLIP checkpoint and the same items for both; batches of 64, decoding included, windows taken in turn. The
plain loop opens photos with Pillow, runs ``CLIPImageProcessor`` and the tokenizer (padded to the longest of the batch)
and asks ``CLIPModel`` for image and text features. Ours is :func:`recsys.embeddings.encode.encode_rows`, which also
computes the fused vector. Beside speed it says how far the vectors differ.

    python benchmarks/bench_embedding.py     # photos: --data, else the generated world
"""

from __future__ import annotations

import io
import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as PillowImage
from rich.console import Console
from rich.table import Table
from small_clip import (
    POSITIONS,
    made_on,
    matmul_rate,
    median,
    parser_for,
    texts_of,
    write_checkpoint,
    write_photos,
)
from torch.nn import functional as F
from transformers.models.auto.tokenization_auto import AutoTokenizer
from transformers.models.clip import CLIPImageProcessor
from transformers.models.clip.modeling_clip import CLIPModel

from recsys.data.dataset import Dataset
from recsys.embeddings.encode import encode_rows
from recsys.encoders.text import TextConfig
from recsys.towers.clip import ClipConfig, ClipTower
from recsys.types import FloatArray

ITEMS, BATCH = 512, 64
OURS, PLAIN = "encode_rows", "transformers loop"
RESULTS = Path(__file__).parent / "results" / "embedding.json"


class PlainLoop:
    """What one writes by hand."""

    def __init__(self, checkpoint: Path, data: Dataset) -> None:
        self.images = CLIPImageProcessor.from_pretrained(checkpoint)
        self.tokenizer = AutoTokenizer.from_pretrained(checkpoint)
        self.model = CLIPModel.from_pretrained(checkpoint, dtype=torch.float32).eval()
        self.data = data

    @torch.inference_mode()
    def __call__(self, rows: Sequence[int]) -> Mapping[str, FloatArray]:
        photos, texts = self.data.covers(rows), texts_of(self.data)
        found: dict[str, list[torch.Tensor]] = {"image": [], "text": []}
        for start in range(0, len(rows), BATCH):
            part = range(start, min(start + BATCH, len(rows)))
            opened = [PillowImage.open(io.BytesIO(photos[place] or b"")).convert("RGB") for place in part]
            pixels = self.images(opened, return_tensors="pt")["pixel_values"]
            words = self.tokenizer(
                [texts[rows[place]] for place in part], padding=True, truncation=True, return_tensors="pt"
            )
            found["image"].append(F.normalize(self.model.get_image_features(pixel_values=pixels).pooler_output))
            found["text"].append(F.normalize(self.model.get_text_features(**words).pooler_output))
        return {name: torch.cat(parts).numpy() for name, parts in found.items()}


def timed(act: Callable[[], object]) -> dict[str, float]:
    started = time.perf_counter(), time.process_time()
    act()
    return {"seconds": time.perf_counter() - started[0], "cpu_seconds": time.process_time() - started[1]}


def measured(folder: Path, rounds: int) -> dict[str, Any]:
    data, checkpoint = Dataset(folder / "photos"), folder / "clip"
    tower = ClipTower.create(ClipConfig(checkpoint=checkpoint, text=TextConfig(max_tokens=POSITIONS)), [])
    plain, rows = PlainLoop(checkpoint, data), range(ITEMS)
    systems: dict[str, Callable[[], Mapping[str, FloatArray]]] = {
        OURS: lambda: encode_rows(tower, data, rows),
        PLAIN: lambda: plain(rows),
    }
    ours, theirs = (encode() for encode in systems.values())  # warms up, too
    windows: dict[str, list[dict[str, float]]] = {name: [] for name in systems}
    for _ in range(rounds):
        for name, encode in systems.items():
            windows[name].append(timed(encode))
    found: dict[str, Any] = {
        name: {
            "items_per_second": ITEMS / median([window["seconds"] for window in taken]),
            "items_per_cpu_second": ITEMS / median([window["cpu_seconds"] for window in taken]),
        }
        for name, taken in windows.items()
    }
    for measure in ("items_per_second", "items_per_cpu_second"):
        for name in systems:
            found[name][f"ratio_{measure}"] = found[name][measure] / found[PLAIN][measure]
    cosines = {name: (ours[name] * theirs[name]).sum(axis=1) for name in ("image", "text")}
    return {
        "systems": found,
        "cosine_to_the_plain_loop": {
            name: {"least": float(cosine.min()), "mean": float(np.mean(cosine))} for name, cosine in cosines.items()
        },
    }


def show(found: Mapping[str, Any]) -> None:
    table = Table(title=f"{ITEMS} photos with captions to vectors, decoding included, batches of {BATCH}")
    for column in ("", "items/s", "ratio", "items/CPU s", "ratio"):
        table.add_column(column)
    for name, of in found["systems"].items():
        rates = [
            (f"{of[key]:,.0f}", f"{of[f'ratio_{key}']:.2f}") for key in ("items_per_second", "items_per_cpu_second")
        ]
        table.add_row(name, *rates[0], *rates[1])
    console = Console(width=120)
    console.print(table)
    for name, cosine in found["cosine_to_the_plain_loop"].items():
        console.print(f"{name} vectors: cosine to the plain loop's {cosine['mean']:.6f}, least {cosine['least']:.6f}")


def main() -> None:
    arguments = parser_for(__doc__ or "", RESULTS, rounds=7).parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        source = write_photos(folder / "photos", ITEMS, arguments.data)
        write_checkpoint(folder / "clip", texts_of(Dataset(folder / "photos")))
        limit = matmul_rate()
        found = measured(folder, arguments.rounds)
    show(found)
    about = made_on(("torch", "transformers", "torchvision", "pillow"))
    results = {**about, "photos": source, "windows": arguments.rounds, "matmul_gflops_float32": limit, **found}
    arguments.results.parent.mkdir(exist_ok=True)
    arguments.results.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
