"""Tiny random checkpoints in the hub's format, written by ``transformers`` itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers.models.chinese_clip.configuration_chinese_clip import ChineseCLIPConfig
from transformers.models.chinese_clip.modeling_chinese_clip import ChineseCLIPModel
from transformers.models.clip.configuration_clip import CLIPConfig
from transformers.models.clip.modeling_clip import CLIPModel
from transformers.models.siglip.configuration_siglip import SiglipConfig
from transformers.models.siglip.modeling_siglip import SiglipModel

from recsys.encoders.tokenizer import train_tokenizer

CORPUS = [
    "红色的苹果 red apple",
    "blue sea 蓝色大海",
    "green hills 绿色山丘",
    "a photo of a dog and a red ball in the sea",
]
SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
VISION = {"image_size": 16, "patch_size": 8, **SIZES}
START, END = "<|startoftext|>", "<|endoftext|>"
CLIP_PREPROCESSOR = {
    "do_center_crop": True,
    "size": {"shortest_edge": 16},
    "crop_size": {"height": 16, "width": 16},
    "image_mean": [0.4, 0.5, 0.6],
    "image_std": [0.2, 0.3, 0.4],
}


def _clip_tokenizer(specials: Sequence[str]) -> Tokenizer:
    """A byte-level BPE as CLIP's, the special tokens in the given order behind all others."""
    trained = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=600, initial_alphabet=alphabet, end_of_word_suffix="</w>")
    trained.train_from_iterator(CORPUS, trainer)
    state = json.loads(trained.to_str())["model"]
    for special in specials:
        state["vocab"][special] = len(state["vocab"])
    merges = [tuple(pair) for pair in state["merges"]]
    tokenizer = Tokenizer(models.BPE(state["vocab"], merges, end_of_word_suffix="</w>", unk_token=END))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens(list(specials))
    single = f"{START} $A {END}" if START in specials else f"$A {END}"
    ids = [(token, tokenizer.token_to_id(token)) for token in specials]
    tokenizer.post_processor = processors.TemplateProcessing(single=single, special_tokens=ids)
    return tokenizer


def _write_clip(path: Path, specials: Sequence[str], pad_token: str, eos_token_id: int | None = None) -> CLIPModel:
    torch.manual_seed(0)
    tokenizer = _clip_tokenizer(specials)
    start, end, pad = (tokenizer.token_to_id(token) for token in (START, END, pad_token))
    text = {
        "vocab_size": tokenizer.get_vocab_size(),
        "max_position_embeddings": 24,
        "eos_token_id": eos_token_id or end,
    }
    ids = {"bos_token_id": start, "pad_token_id": pad}
    model = CLIPModel(CLIPConfig(text_config={**text, **ids, **SIZES}, vision_config=VISION, projection_dim=12))
    return _written(path, model, tokenizer, CLIP_PREPROCESSOR, pad_token)


def _written(path: Path, model: Any, tokenizer: Tokenizer, preprocessor: dict[str, Any], pad_token: str) -> Any:
    model.save_pretrained(path)
    tokenizer.save(str(path / "tokenizer.json"))
    (path / "tokenizer_config.json").write_text(json.dumps({"pad_token": pad_token}))
    (path / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    return model.eval()


@pytest.fixture(scope="session")
def write_clip() -> Callable[..., CLIPModel]:
    """Writes a CLIP: folder, special tokens by rising id, what pads, and a wrong ``eos_token_id`` for its config."""
    return _write_clip


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CLIP, padded with its end token as the hub's are."""
    path = tmp_path_factory.mktemp("clip")
    _write_clip(path, [START, END], END)
    return path


@pytest.fixture(scope="session")
def chinese_clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path, tokenizer = tmp_path_factory.mktemp("chinese_clip"), train_tokenizer(2 * CORPUS, 100)
    torch.manual_seed(1)
    text = {"vocab_size": tokenizer.get_vocab_size(), "max_position_embeddings": 24, **SIZES}
    model = ChineseCLIPModel(ChineseCLIPConfig(text_config=text, vision_config=VISION, projection_dim=12))
    _written(path, model, tokenizer, CLIP_PREPROCESSOR, "[PAD]")
    return path


@pytest.fixture(scope="session")
def siglip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SigLIP: no start token, padded with its end token to the full length."""
    path, tokenizer = tmp_path_factory.mktemp("siglip"), _clip_tokenizer([END])
    end = tokenizer.token_to_id(END)
    torch.manual_seed(2)
    text = {"vocab_size": tokenizer.get_vocab_size(), "max_position_embeddings": 20, "pad_token_id": end, **SIZES}
    ids = {"bos_token_id": None, "eos_token_id": end}
    model = SiglipModel(SiglipConfig(text_config={**text, **ids}, vision_config=VISION))
    with torch.no_grad():
        model.logit_scale.fill_(2.3)
        model.logit_bias.fill_(-9.0)
    preprocessor = {"size": {"height": 16, "width": 16}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    _written(path, model, tokenizer, preprocessor, END)
    return path
