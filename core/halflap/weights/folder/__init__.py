"""Hugging Face folders: config.json, safetensors and tokenizer.json as one ModelFile, under GGUF's names and keys.

reading.py      open(folder) -> ModelFile
families/       what each family's settings and tensor names mean: one table for each
recipe.py       tensors that are made of stored ones, when they are asked for
vocabulary.py   tokenizer.json and its companions -> tokenizer.* keys
safetensors.py  the shards' format; hostile until checked
settings.py     the small JSON files, read with their values checked
"""
