"""Text encoders: BERT, XLM-RoBERTa, Nomic BERT, ModernBERT and T5's encoder."""

from __future__ import annotations

from typing import Final

from halflap.weights.folder.families.common import (
    Description,
    Family,
    Metadata,
    Names,
    decoder,
    rope_settings,
    rotary,
)
from halflap.weights.folder.recipe import Array, Rule
from halflap.weights.folder.settings import MAX_LAYERS, Settings  # fmt: skip

RANKED: Final = 4
"""GGUF's pooling type of a classifier."""


def _bert_names(s: Settings) -> Names:
    at = "encoder.layer.N"
    pooler: Names = {"pooler.dense": "cls"} if _classifies(s) else {}
    return {
        **pooler,
        "embeddings.word_embeddings": "token_embd",
        "embeddings.position_embeddings": "position_embd",
        "embeddings.token_type_embeddings": "token_types",
        "embeddings.LayerNorm": "token_embd_norm",
        f"{at}.attention.self.query": "blk.N.attn_q",
        f"{at}.attention.self.key": "blk.N.attn_k",
        f"{at}.attention.self.value": "blk.N.attn_v",
        f"{at}.attention.output.dense": "blk.N.attn_output",
        f"{at}.attention.output.LayerNorm": "blk.N.attn_output_norm",
        f"{at}.intermediate.dense": "blk.N.ffn_up",
        f"{at}.output.dense": "blk.N.ffn_down",
        f"{at}.output.LayerNorm": "blk.N.layer_output_norm",
        "classifier.dense": "cls",
        "classifier.out_proj": "cls.output",
        "classifier": "cls.output",
    }


def _classifies(s: Settings) -> bool:
    classes = s.values.get("architectures")
    return isinstance(classes, list) and any(str(name).endswith("ForSequenceClassification") for name in classes)


def _bert_keys(s: Settings) -> Metadata:
    found = s.text("hidden_act", default="gelu")
    s.want("hidden_act", found == "gelu", found, "'gelu'")
    kind = s.text("position_embedding_type", default="absolute")
    s.want("position_embedding_type", kind == "absolute", kind, "'absolute'")
    keys: Metadata = {"pooling_type": RANKED} if _classifies(s) else {}
    return keys | {
        "block_count": s.integer("num_hidden_layers", least=1),
        "context_length": s.integer("max_position_embeddings", least=1),
        "embedding_length": s.integer("hidden_size", least=1),
        "feed_forward_length": s.integer("intermediate_size", least=1),
        "attention.head_count": s.integer("num_attention_heads", least=1),
        "attention.layer_norm_epsilon": s.number("layer_norm_eps"),
        "attention.causal": False,
    }


def bert(s: Settings) -> Description:
    return Description("bert", _bert_keys(s), _bert_names(s))


def xlm_roberta(s: Settings) -> Description:
    """BERT whose positions begin behind the padding's."""
    keys = _bert_keys(s)
    first = s.integer("pad_token_id", default=1, most=1024) + 1
    # The published table has its positions behind the padding id of 1, whatever config.json says of padding.
    keys["context_length"] -= first
    if keys["context_length"] < 1:
        s.wrong("max_position_embeddings", keys["context_length"] + first, f"over {first}")

    def positions(x: Array, s: Settings) -> Array:
        return x[first:]

    moved = Rule("position_embd", f"without its first {first} rows", positions)
    return Description("bert", keys, {**_bert_names(s), "embeddings.position_embeddings": moved})


def nomic_bert(s: Settings) -> Description:
    """Newer files speak of hidden_size, the first ones of n_embd."""
    heads, width = s.integer("num_attention_heads", "n_head", least=1), s.integer("hidden_size", "n_embd", least=1)
    keys: Metadata = {
        "block_count": s.integer("num_hidden_layers", "n_layer", least=1),
        "context_length": s.integer("max_position_embeddings", "n_positions", least=1),
        "embedding_length": width,
        "feed_forward_length": s.integer("intermediate_size", "n_inner", least=1),
        "attention.head_count": heads,
        "attention.layer_norm_epsilon": s.number("layer_norm_eps", "layer_norm_epsilon"),
        "attention.causal": False,
    }
    keys |= rotary(s, width // heads)
    if s.has("rotary_emb_base"):
        keys["rope.freq_base"] = s.number("rotary_emb_base")
    at = "encoder.layers.N"
    names: Names = {
        "embeddings.word_embeddings": "token_embd",
        "embeddings.token_type_embeddings": "token_types",
        "emb_ln": "token_embd_norm",
        f"{at}.attn.Wqkv": "blk.N.attn_qkv",
        f"{at}.attn.out_proj": "blk.N.attn_output",
        f"{at}.norm1": "blk.N.attn_output_norm",
        f"{at}.norm2": "blk.N.layer_output_norm",
        f"{at}.mlp.fc11": "blk.N.ffn_up",
        f"{at}.mlp.fc12": "blk.N.ffn_gate",
        f"{at}.mlp.fc2": "blk.N.ffn_down",
    }
    return Description("nomic-bert", keys, names)


def modern_bert(s: Settings) -> Description:
    keys = decoder(s, activation="gelu", eps="norm_eps")
    keys["attention.layer_norm_epsilon"] = keys.pop("attention.layer_norm_rms_epsilon", s.number("norm_eps"))
    layers = keys["block_count"]
    full, near = rope_settings(s, "full_attention"), rope_settings(s, "sliding_attention")
    types = s.layers("layer_types", layers, ("sliding_attention", "full_attention"))
    every = s.integer("global_attn_every_n_layers", default=3, least=1)
    windows = [t == "sliding_attention" for t in types] if types else [i % every != 0 for i in range(layers)]
    keys |= {
        "rope.freq_base": s.number("global_rope_theta", default=full.number("rope_theta", default=160000.0)),
        "rope.freq_base_swa": s.number("local_rope_theta", default=near.number("rope_theta", default=10000.0)),
        "attention.sliding_window": s.integer("local_attention", least=1),
        "attention.sliding_window_pattern": windows,
        "attention.causal": False,
        "hidden_activation": s.text("hidden_activation", default="gelu"),
    }
    names: Names = {
        "embeddings.tok_embeddings": "token_embd",
        "embeddings.norm": "token_embd_norm",
        "final_norm": "output_norm",
        "layers.N.attn_norm": "blk.N.attn_norm",
        "layers.N.attn.Wqkv": "blk.N.attn_qkv",
        "layers.N.attn.Wo": "blk.N.attn_output",
        "layers.N.mlp_norm": "blk.N.ffn_norm",
        "layers.N.mlp.Wi": "blk.N.ffn_up",
        "layers.N.mlp.Wo": "blk.N.ffn_down",
        "head.dense": "cls",
        "head.norm": "cls.norm",
        "classifier": "cls.output",
    }
    return Description("modern-bert", keys, names)


def _t5_attention(at: str, ours: str) -> Names:
    return {f"{at}.{n}": f"{ours}_{n}" for n in "qkvo"}


def _t5_stack(stack: str, ours: str, ffn: int) -> Names:
    """One stack of blocks, whose sub-layers are counted: attention first, the FFN at `ffn`."""
    at = f"{stack}.block.N.layer"
    return {
        f"{stack}.final_layer_norm": f"{ours}.output_norm",
        **_t5_attention(f"{at}.0.SelfAttention", f"{ours}.blk.N.attn"),
        f"{at}.0.SelfAttention.relative_attention_bias": f"{ours}.blk.N.attn_rel_b",
        f"{at}.0.layer_norm": f"{ours}.blk.N.attn_norm",
        f"{at}.{ffn}.layer_norm": f"{ours}.blk.N.ffn_norm",
        f"{at}.{ffn}.DenseReluDense.wi": f"{ours}.blk.N.ffn_up",
        f"{at}.{ffn}.DenseReluDense.wi_0": f"{ours}.blk.N.ffn_gate",
        f"{at}.{ffn}.DenseReluDense.wi_1": f"{ours}.blk.N.ffn_up",
        f"{at}.{ffn}.DenseReluDense.wo": f"{ours}.blk.N.ffn_down",
    }


def t5(s: Settings) -> Description:
    """Encoder and decoder, or, of a T5EncoderModel, the encoder alone."""
    reach = s.integer("relative_attention_max_distance", default=128)
    s.want("relative_attention_max_distance", reach == 128, reach, "128")
    activation = s.text("feed_forward_proj", default="relu")
    s.want("feed_forward_proj", activation in ("relu", "gated-gelu"), activation, "'relu' or 'gated-gelu'")
    width = s.integer("d_model", least=1)
    keys: Metadata = {
        "block_count": s.integer("num_layers", least=1),
        "context_length": s.integer("n_positions", default=512, least=1),
        "embedding_length": width,
        "feed_forward_length": s.integer("d_ff", least=1),
        "attention.head_count": s.integer("num_heads", least=1),
        "attention.key_length": s.integer("d_kv", least=1),
        "attention.value_length": s.integer("d_kv", least=1),
        "attention.layer_norm_rms_epsilon": s.number("layer_norm_epsilon"),
        "attention.relative_buckets_count": s.integer("relative_attention_num_buckets", default=32),
    }
    names = {"shared": "token_embd", **_t5_stack("encoder", "enc", 1)}
    if s.values.get("architectures") == ["T5EncoderModel"] or not s.flag("is_encoder_decoder", True):
        return Description("t5encoder", keys | {"attention.causal": False}, names)
    scaled = s.flag("scale_decoder_outputs", s.flag("tie_word_embeddings", True))
    keys |= {
        "decoder_block_count": s.integer("num_decoder_layers", "num_layers", least=1, most=MAX_LAYERS),
        "decoder_start_token_id": s.integer("decoder_start_token_id", default=0),
        "logit_scale": width**-0.5 if scaled else 1.0,
    }
    at = "decoder.block.N.layer.1"
    names |= {
        **_t5_stack("decoder", "dec", 2),
        **_t5_attention(f"{at}.EncDecAttention", "dec.blk.N.cross_attn"),
        f"{at}.layer_norm": "dec.blk.N.cross_attn_norm",
        "lm_head": "output",
    }
    return Description("t5", keys, names)


FAMILIES: Final[dict[str, Family]] = {
    "bert": bert,
    "xlm-roberta": xlm_roberta,
    "nomic_bert": nomic_bert,
    "modernbert": modern_bert,
    "t5": t5,
}
"""`model_type` -> its table."""
