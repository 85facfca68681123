from __future__ import annotations

from pathlib import Path

import torch
from transformers.models.bert.configuration_bert import BertConfig
from transformers.models.bert.modeling_bert import BertForMaskedLM
from transformers.models.blip_2.configuration_blip_2 import Blip2Config
from transformers.models.blip_2.modeling_blip_2 import Blip2QFormerModel

from recsys.encoders.qformer import QFormerConfig
from recsys.encoders.qformer_weights import create_qformer, fill_qformer, qformer_of
from recsys.encoders.tokenizer import train_tokenizer

CORPUS = ["红色的苹果 red apple", "blue sea 蓝色大海", "green hills 绿色山丘"]


def test_the_queries_of_transformers_see_the_same() -> None:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 20, "num_hidden_layers": 1}
    config = Blip2Config(
        vision_config={**sizes, "image_size": 16, "patch_size": 8},
        qformer_config={**sizes, "num_hidden_layers": 5, "cross_attention_frequency": 2, "initializer_range": 0.2},
        num_query_tokens=3,
    )
    theirs = Blip2QFormerModel(config.qformer_config).eval()
    query_tokens = torch.randn(1, 3, 16)
    weights = {f"qformer.{name}": tensor for name, tensor in theirs.state_dict().items()}

    ours = qformer_of(config, train_tokenizer(CORPUS, 100), 12).eval()
    fresh = fill_qformer(ours, {**weights, "query_tokens": query_tokens})

    assert {name.split(".")[0] for name in fresh} - {"layers"} == {"words", "positions", "head", "head_bias"}
    assert all(".text_feed." in name for name in fresh if name.startswith("layers"))
    states = torch.randn(2, 5, 16)
    with torch.inference_mode():
        expected = theirs(query_embeds=query_tokens.expand(2, -1, -1), encoder_hidden_states=states).last_hidden_state
        torch.testing.assert_close(ours.ask(ours.look(states))[0], expected, rtol=0, atol=1e-5)


def test_a_bert_brings_the_text_side_and_the_head(tmp_path: Path) -> None:
    torch.manual_seed(0)
    tokenizer = train_tokenizer(CORPUS, 100)
    known = tokenizer.get_vocab_size()
    sizes = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 20, "num_hidden_layers": 2}
    bert = BertForMaskedLM(
        BertConfig(vocab_size=known, max_position_embeddings=20, initializer_range=0.2, **sizes)
    ).eval()
    bert.save_pretrained(tmp_path)
    tokenizer.save(str(tmp_path / "tokenizer.json"))

    qformer = create_qformer(QFormerConfig(checkpoint=tmp_path, max_tokens=12, queries=3), 6, ()).eval()

    tokens = qformer.cut(torch.from_numpy(qformer.tokens(["red 苹果", "green hills sea"])))
    with torch.inference_mode():
        out = bert(input_ids=tokens, attention_mask=(tokens != qformer.pad_id).long(), output_hidden_states=True)
        hidden, real = qformer.read(tokens), tokens != qformer.pad_id
        torch.testing.assert_close(hidden[real], out.hidden_states[-1][real], rtol=0, atol=1e-5)
        torch.testing.assert_close(qformer.predict(hidden)[real][:, :known], out.logits[real], rtol=0, atol=1e-5)
    start = qformer.words.weight[qformer.start_id]
    torch.testing.assert_close(start, qformer.words.weight[:known].mean(dim=0))
    for layer in qformer.layers:
        torch.testing.assert_close(layer.query_feed.up.weight, layer.text_feed.up.weight)
    assert qformer.layers[0].cross_attention is not None
    assert qformer.layers[1].cross_attention is None
