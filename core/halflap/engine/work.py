"""What the engine computes: the ids of one sequence, which of their rows are wanted, and who gets them."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from halflap.engine.blocks import SequenceBlocks
from halflap.engine.given import NO_IMAGES, Images
from halflap.engine.metrics import Recorder
from halflap.errors import HalflapError
from halflap.events import FinishReason
from halflap.graph.candidates import Ask, Highest

F32 = npt.NDArray[np.float32]


class Work:
    """One sequence, from its submission to its end.

    Args:
        ids: the prompt.
        limit: tokens the sequence may grow to.
        outputs: names of the graph's outputs whose rows are wanted.
        images: what stands in for some of the prompt's ids.
        salt: what the state depends on beside the tokens.
        reuse: take what other sequences computed, and leave what this one computes for others.
        marks: places in the prompt behind which later requests will likely resume: starts of messages.
        priority: higher goes first.
        user: whose work it is, for policies that share.
        source: the text that an encoder reads before, for models that have one.
        scales: of the adapters that it is computed with; None: of none.

    Attributes:
        encoded: the rows of the source text are there.
        computed: tokens whose state is there.
        cached: tokens that were when the work was first admitted.
        arrival: the engine's count of work when it was submitted.
        served: tokens that were computed for it.
        preempted: how often it had to make room.
        draft: a guess at what follows `ids`, computed with their last token.
        moved: its ids were changed, so it must begin again.
        speculate: it takes drafts.
        recorder: where its times are counted; the engine's own once it was submitted.
    """

    speculate = False

    def __init__(
        self,
        ids: Sequence[int],
        limit: int,
        outputs: tuple[str, ...],
        images: Images = NO_IMAGES,
        *,
        salt: bytes = b"",
        reuse: bool = True,
        marks: Sequence[int] = (),
        priority: int = 0,
        user: str = "",
        source: Sequence[int] = (),
        scales: F32 | None = None,
    ) -> None:
        self.source, self.encoded = list(source), False
        self.scales = scales
        salt += array("i", self.source).tobytes() + (scales.tobytes() if scales is not None else b"")
        self.ids, self.n_prompt, self.limit = list(ids), len(ids), limit
        self.outputs, self.images, self.salt, self.reuse = outputs, images, salt, reuse
        self.priority, self.user = priority, user
        self.computed = self.cached = self.arrival = self.served = self.preempted = 0
        self.blocks: SequenceBlocks | None = None
        self.admitted = self.finished = self.cancelled = self.moved = False
        self.draft: list[int] = []
        self.recorder = Recorder()
        self._marks: tuple[int, ...] = tuple(marks)
        self._keys: list[bytes] = []

    @property
    def latest_start(self) -> int:
        """The last token at which computing may begin: from there on rows are wanted."""
        raise NotImplementedError

    @property
    def room(self) -> int:
        """Tokens that may still be generated."""
        return 0

    def propose(self, draft: Sequence[int]) -> None:
        """A guess at the tokens that come next, for the next step to check."""

    def start(self, blocks: SequenceBlocks, computed: int) -> None:
        """Admitted, `computed` tokens of it known from other sequences; the next step may compute more."""
        self.blocks, self.computed = blocks, computed
        if not self.admitted:
            self.admitted, self.cached = True, computed

    def stop(self) -> None:
        """No longer admitted: its blocks are gone."""
        self.blocks, self.computed, self.draft, self.encoded = None, 0, [], False

    def may_start(self, place: int) -> bool:
        """Whether a step may begin here: not behind what is wanted, nor inside an image."""
        return place <= self.latest_start and not self.images.inside(place)

    def keys(self, count: int, node_tokens: int) -> list[bytes]:
        """What the first `count` whole nodes of the prefix tree are called."""
        for depth in range(len(self._keys), count):
            start, stop = depth * node_tokens, (depth + 1) * node_tokens
            self._keys.append(array("i", self.ids[start:stop]).tobytes() + self.images.key(start, stop))
        return self._keys[:count]

    def forget_keys(self) -> None:
        """The ids were changed."""
        self._keys, self._marks = [], ()

    def marked(self, place: int, node_tokens: int) -> bool:
        """Whether a later request will likely resume at a node's end: near the prompt's end, or before a mark."""
        return any(0 <= mark - place < node_tokens for mark in self._marks) or (
            0 <= self.n_prompt - place < 2 * node_tokens
        )

    def wanted(self, start: int, stop: int) -> Sequence[int]:
        """The places among [start, stop) whose rows are wanted."""
        raise NotImplementedError

    def asks(self, rows: Mapping[str, F32]) -> Sequence[Ask | None]:
        """What a device may find of its rows of logits before `advance`; None: it needs the row."""
        return ()

    def advance(self, stop: int, rows: Mapping[str, F32], found: Sequence[Highest | None] = ()) -> None:
        """Tokens up to `stop` are computed; `rows` are those that were wanted, `found` the answers to `asks`."""
        raise NotImplementedError

    def fail(self, error: BaseException) -> None:
        raise NotImplementedError

    def end(self, reason: FinishReason) -> None:
        raise NotImplementedError

    def late(self, now: float) -> bool:
        """Whether its deadline has passed."""
        return False

    def timed_out(self) -> HalflapError:
        raise AssertionError("work without a deadline is never late")
