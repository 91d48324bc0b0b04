"""xIELU (Huang & Schlag 2024): a parabola above zero, an exponential below; its two curvatures are learnt."""

import numpy as np

from halflap.graph.ops import REQUIRED, Op


def shape(inputs, attributes):
    return [("f32", inputs[0].shape)]


def definition(x, *, alpha_p, alpha_n, beta, eps):
    below = (np.expm1(np.minimum(x, eps)) - x) * alpha_n + beta * x
    return np.where(x > 0, alpha_p * x * x + beta * x, below).astype(np.float32)


XIELU = Op(
    "xielu",
    ("x",),
    shape,
    {"alpha_p": REQUIRED, "alpha_n": REQUIRED, "beta": REQUIRED, "eps": REQUIRED},
    definition="halflap_example_architecture.xielu:definition",
)
