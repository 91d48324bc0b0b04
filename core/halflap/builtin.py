"""Core's own parts, registered through the same hooks as everybody else's."""

from __future__ import annotations

from functools import partial

from halflap.graph import compression, encoder, latent, ops, recurrent, streams
from halflap.hookspecs import Register, hookimpl
from halflap.text.chat.dialects import DIALECTS
from halflap.text.chat.families import Family
from halflap.text.pretokenizers import PRETOKENIZERS
from halflap.weights.catalogue import WEIGHT_TYPES

ARCHITECTURES = (
    "afmoe",
    "arcee",
    "bert",
    "bloom",
    "cohere2",
    "deepseek2",
    "deepseek4",
    "dots1",
    "exaone4",
    "falcon",
    "gemma",
    "gemma2",
    "gemma3",
    "gemma4",
    "glm4",
    "glm4moe",
    "gpt2",
    "gptneox",
    "granite",
    "granitehybrid",
    "hy_v3",
    "jamba",
    "lfm2",
    "lfm2moe",
    "llama",
    "llama4",
    "mamba",
    "mamba2",
    "mistral3",
    "nemotron",
    "olmo2",
    "olmoe",
    "phi2",
    "phi3",
    "qwen2",
    "qwen2moe",
    "qwen3",
    "qwen35",
    "qwen35moe",
    "qwen3moe",
    "qwen3next",
    "qwen3vl",
    "seed_oss",
    "smollm3",
    "stablelm",
    "starcoder2",
    "t5",
    "t5encoder",
)
BY_OTHER_NAMES = {
    "command-r": "command_r",
    "ernie4_5": "llama",
    "ernie4_5-moe": "ernie4_5_moe",
    "deepseek32": "deepseek2",
    "falcon-h1": "falcon_h1",
    "gemma-embedding": "gemma_embedding",
    "glm-dsa": "deepseek2",
    "gpt-oss": "gpt_oss",
    "granite_swa": "granite",
    "granitemoe": "granite",
    "hunyuan-dense": "hunyuan_dense",
    "hunyuan-moe": "hunyuan_moe",
    "minimax-m2": "minimax_m2",
    "mistral4": "deepseek2",
    "modern-bert": "modern_bert",
    "nemotron_h": "nemotron_h",
    "nemotron_h_moe": "nemotron_h",
    "nomic-bert": "nomic_bert",
}
"""Names in files -> module, where they differ."""


@hookimpl
def register_backends(register: Register) -> None:
    register("reference", "halflap.device.reference:ReferenceBackend", priority=-100)


@hookimpl
def register_architectures(register: Register) -> None:
    for name in (*ARCHITECTURES, *BY_OTHER_NAMES):
        register(name, f"halflap.architectures.{BY_OTHER_NAMES.get(name, name)}")


@hookimpl
def register_ops(register: Register) -> None:
    for op in (*ops.TABLE, *compression.TABLE, *encoder.TABLE, *latent.TABLE, *recurrent.TABLE, *streams.TABLE):
        register(op.name, op)


@hookimpl
def register_weight_types(register: Register) -> None:
    for name, factory, number in WEIGHT_TYPES:
        register(name, factory, gguf=number)


@hookimpl
def register_model_formats(register: Register) -> None:
    register("gguf", "halflap.weights.gguf:open", magic=b"GGUF")
    register("huggingface", "halflap.weights.folder.reading:open", holds="config.json")


TOKENIZER_MODELS = ("bert", "gemma4", "gpt2", "llama", "t5")


@hookimpl
def register_tokenizers(register: Register) -> None:
    for name in TOKENIZER_MODELS:
        register(name, "halflap.text.tokenizer:Tokenizer.from_metadata", kind="model")
    for name in PRETOKENIZERS:
        register(name, partial(PRETOKENIZERS.__getitem__, name), kind="pre")


SAMPLERS = {
    "penalties": "Penalties",
    "dry": "Dry",
    "top_n_sigma": "TopNSigma",
    "top_k": "TopK",
    "typical_p": "TypicalP",
    "top_p": "TopP",
    "min_p": "MinP",
    "xtc": "Xtc",
    "temperature": "Temperature",
    "mirostat": "Mirostat",
    "mirostat_v1": "MirostatV1",
}


@hookimpl
def register_samplers(register: Register) -> None:
    for name, attribute in SAMPLERS.items():
        register(name, f"halflap.sampling.samplers:{attribute}")


CONSTRAINTS = {
    "choice": "choice",
    "gbnf": "gbnf_grammar",
    "json": "any_json",
    "json_schema": "json_schema",
    "lark": "lark",
    "regex": "regex",
}


@hookimpl
def register_constraints(register: Register) -> None:
    for name, attribute in CONSTRAINTS.items():
        register(name, f"halflap.constraints.builtin:{attribute}")


@hookimpl
def register_policies(register: Register) -> None:
    register("first_come", "halflap.engine.policy:FirstCome")
    register("fair", "halflap.engine.policy:Fair")


@hookimpl
def register_drafters(register: Register) -> None:
    register("lookup", "halflap.engine.lookup:Lookup")


@hookimpl
def register_chat_formats(register: Register) -> None:
    register("plain", "halflap.text.chat.contract:Plain", about="all text")
    register(
        "harmony",
        "halflap.text.chat.families:Harmony",
        about="gpt-oss",
        detect=("<|channel|>", "<|message|>", "<|call|>"),
    )
    for name, dialect in DIALECTS.items():
        register(name, partial(Family, dialect), about=dialect.about, detect=dialect.marks)


COMMANDS = {
    "run": "Answer one prompt.",
    "chat": "Talk with a model in the terminal.",
    "convert": "Write a model as a GGUF file.",
    "inspect": "Show what is in a model file.",
    "plan": "Show where a model would run, before anything is allocated.",
    "devices": "List devices and what they can do.",
    "plugins": "List plugins, what they registered, and what failed.",
    "bench": "Measure speed, with llama-bench's options and columns.",
}


@hookimpl
def register_commands(register: Register) -> None:
    for name, about in COMMANDS.items():
        register(name, f"halflap.cli.{name}:command", help=about)
