"""Text in and out: tokenizers built from a model file's metadata, and the way back to text."""
