"""An example sampler: among equals it prefers tokens that have not been used yet."""

import halflap


class Fresh:
    """Takes `penalty` from the logit of every token that this request has seen before.

    Unlike a repetition penalty it looks at the whole conversation and counts each token once.

    Args:
        penalty: how much a known token's logit loses.
        keep_top: the likeliest tokens that go free, so that grammar survives.
    """

    def __init__(self, penalty: float = 1.0, keep_top: int = 1) -> None:
        if penalty < 0 or keep_top < 0:
            raise ValueError("fresh: got a negative option, want penalty and keep_top of at least 0")
        self.penalty, self.keep_top = penalty, keep_top
        self.seen = set()  # plain attributes are a sampler's state: the engine may copy them

    def apply(self, c):
        """`c.ids` (k,) and `c.logits` (k,), best first; return the candidates that remain."""
        known = [place for place, token in enumerate(c.ids.tolist()) if token in self.seen]
        c.logits[[place for place in known if place >= self.keep_top]] -= self.penalty
        return c.ordered()

    def accept(self, token: int) -> None:
        """Called for each token of the prompt, then for each one that was chosen."""
        self.seen.add(token)


@halflap.hookimpl
def register_samplers(register):
    register("fresh", Fresh, about="prefers tokens that this request has not seen")
