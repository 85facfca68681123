"""What the CLIP benchmarks share: a scaled-down CLIP in the hub's format, photos with captions, and the machine.

The checkpoint is ViT-B/32 in everything but width and depth: 224 pixels, patches of 32, a byte-level BPE, quick GELU,
causal text padded with its end token. ``transformers`` writes it, so every contestant reads the same folder.
"""

from __future__ import annotations

import argparse
import io
import json
import platform
import re
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from PIL import Image as PillowImage
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers.models.clip.configuration_clip import CLIPConfig
from transformers.models.clip.modeling_clip import CLIPModel

from recsys import schemas
from recsys.data.dataset import Dataset, DatasetWriter
from recsys.data.world import WorldConfig, generate
from recsys.towers.base import item_texts

FLICKR = Path("../shared/data/flickr8k-bilingual")
START, END = "<|startoftext|>", "<|endoftext|>"
PIXELS, PATCH, WIDTH, LAYERS, HEADS, VOCABULARY, POSITIONS, SPACE = 224, 32, 256, 4, 4, 8000, 77, 256
SIZES = {
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": 4 * WIDTH,
}
MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
AVX = re.compile(r"\b(avx\w*|amx\w*|fma)\b")


def parser_for(description: str, results: Path, rounds: int) -> argparse.ArgumentParser:
    """The options of all these benchmarks: photos, threads, measured windows, and where the figures go."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=FLICKR)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--results", type=Path, default=results)
    return parser


def write_photos(path: Path, count: int, data: Path = FLICKR) -> str:
    """Write a data set of ``count`` items of a photo and an English caption; the generated world where Flickr is not.

    Returns:
        Where they come from.
    """
    if data.is_dir():
        frame = pl.read_parquet(data / "train-0.parquet", n_rows=count)
        pictures, texts = frame["image"].to_list(), [captions[0] for captions in frame["caption_en"]]
        source = "Flickr8k train"
    else:
        with tempfile.TemporaryDirectory() as scratch:
            generate(WorldConfig(n_items=count), Path(scratch))
            world = Dataset(Path(scratch))
            pictures = [_photo_sized(cover) for cover in world.covers(range(count)) if cover is not None]
            texts = [text or "" for text in item_texts(world.items)]
        source = "generated world"
    rows = [
        {schemas.ITEM_ID: str(row), schemas.TEXT: text, schemas.IMAGES: [picture]}
        for row, (picture, text) in enumerate(zip(pictures, texts, strict=False))
    ]
    with DatasetWriter(path) as writer:
        writer.write("items", rows)
    return source


def write_checkpoint(path: Path, texts: Sequence[str]) -> None:
    """Write the CLIP with random weights, and a tokenizer trained on ``texts``."""
    tokenizer = _byte_level_bpe(texts)
    start, end = (tokenizer.token_to_id(token) for token in (START, END))
    text = {"vocab_size": tokenizer.get_vocab_size(), "max_position_embeddings": POSITIONS, **SIZES}
    ids = {"bos_token_id": start, "eos_token_id": end, "pad_token_id": end}
    torch.manual_seed(0)
    config = CLIPConfig(
        text_config={**text, **ids},
        vision_config={"image_size": PIXELS, "patch_size": PATCH, **SIZES},
        projection_dim=SPACE,
    )
    CLIPModel(config).save_pretrained(path)
    tokenizer.save(str(path / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": POSITIONS,
        "bos_token": START,
        "eos_token": END,
        "pad_token": END,
    }
    preprocessor = {
        "image_processor_type": "CLIPImageProcessor",
        "processor_class": "CLIPProcessor",
        "do_resize": True,
        "do_center_crop": True,
        "do_rescale": True,
        "do_normalize": True,
        "do_convert_rgb": True,
        "resample": 3,
        "size": {"shortest_edge": PIXELS},
        "crop_size": {"height": PIXELS, "width": PIXELS},
        "image_mean": MEAN,
        "image_std": STD,
    }
    (path / "tokenizer_config.json").write_text(json.dumps(settings))
    (path / "preprocessor_config.json").write_text(json.dumps(preprocessor))


def matmul_rate(dtype: torch.dtype = torch.float32, side: int = 2048, runs: int = 5) -> float:
    """Best multiply-add rate of a large square product, in GFLOP/s: the limit of everything here."""
    a, b = (torch.randn(side, side).to(dtype) for _ in range(2))
    seconds = []
    for _ in range(runs):
        started = time.perf_counter()
        a @ b
        seconds.append(time.perf_counter() - started)
    return 2 * side**3 / min(seconds) / 1e9


def made_on(libraries: Sequence[str]) -> dict[str, Any]:
    """Date, processor and versions, as every result file has them."""
    about = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    name = re.search(r"model name\s*:\s*(.+)", about)
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": name[1] if name else platform.processor() or platform.machine(),
        "processor_features": sorted(set(AVX.findall(about))),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": {library: version for library in libraries if (version := version_of(library))},
    }


def version_of(library: str) -> str | None:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return None


def _photo_sized(cover: bytes) -> bytes:
    """The generated covers are small: as JPEG of a photo's size they cost what photos cost to decode."""
    out = io.BytesIO()
    PillowImage.open(io.BytesIO(cover)).convert("RGB").resize((192, 192)).save(out, "JPEG", quality=75)
    return out.getvalue()


def _byte_level_bpe(texts: Sequence[str]) -> Tokenizer:
    """As CLIP's: lower case, byte-level pairs with an end of word, both special tokens behind all others."""
    trained = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, initial_alphabet=alphabet, end_of_word_suffix="</w>", show_progress=False
    )
    trained.train_from_iterator(texts, trainer)
    state = json.loads(trained.to_str())["model"]
    for special in (START, END):
        state["vocab"][special] = len(state["vocab"])
    merges = [tuple(pair) for pair in state["merges"]]
    tokenizer = Tokenizer(models.BPE(state["vocab"], merges, end_of_word_suffix="</w>", unk_token=END))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens([START, END])
    ids = [(token, tokenizer.token_to_id(token)) for token in (START, END)]
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{START} $A {END}", special_tokens=ids)
    return tokenizer


def texts_of(data: Dataset) -> list[str]:
    return [text or "" for text in item_texts(data.items)]


def median(values: Sequence[float]) -> float:
    return float(np.median(values))
