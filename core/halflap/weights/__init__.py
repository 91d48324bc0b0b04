"""Model files and the weights in them.

gguf.py         open(path) -> ModelFile: metadata, tensors, mapped regions; hostile until checked
gguf_writer.py  the other direction, for tests, tools and fuzz seeds
weight_type.py  WeightType: a block layout and its reference dequantiser
catalogue.py    the table of built-in types, without numpy
quants/         the built-in types, one family a file
inspect.py      what a file holds and what looks wrong in it
"""
