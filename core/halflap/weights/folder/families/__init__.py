"""One table for each family: what its config.json and its tensor names mean.

common.py      what most of them share
dense.py       one dense FFN
gemma.py       Gemma
mixtures.py    experts, latent attention
recurrent.py   a state besides keys and values
encoders.py    text encoders
"""

from __future__ import annotations

from typing import Final

from halflap.weights.folder.families import dense, encoders, gemma, mixtures, recurrent
from halflap.weights.folder.families.common import Description, Family

__all__ = ["FAMILIES", "Description"]

FAMILIES: Final[dict[str, Family]] = {
    name: family for module in (dense, gemma, mixtures, recurrent, encoders) for name, family in module.FAMILIES.items()
}
"""`model_type` of config.json -> what makes a Description of its settings."""
