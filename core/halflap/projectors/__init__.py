"""Image projectors: from pixels to rows that stand among a text model's embeddings. One file per family.

Each file holds, in this order: `Config.read(keys)`, `weights(config)`, `build(config, builder)`, then what the host
does: `fit(config, height, width)`, the size an image is brought to, and `arrange(config, pixels, tables)`, its patches
in the order that the graph merges them in.
"""
