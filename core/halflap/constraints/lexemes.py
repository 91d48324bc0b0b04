"""GBNF rules rewritten as a grammar in llguidance's Lark.

GBNF is defined character by character. llguidance cuts text into lexemes first, always the longest that can stand
there, so a lexeme may only be as long as that makes no difference. Each piece without recursion is tried as one lexeme;
where one could run on into what follows, it is broken into its parts, down to single characters, until none does.
"""

from __future__ import annotations

from collections.abc import Iterable

from halflap.constraints import gbnf
from halflap.constraints.gbnf import Chain, Chars, Either, Node, Repeat, Rule

POSITIONS = 400
"""Characters and classes of one lexeme."""
WORK = 1_000_000
"""Steps of the automaton that compares all lexemes."""


def to_lark(text: str) -> str:
    """A GBNF grammar as one for `llguidance.LLMatcher`.

    Raises:
        ConstraintError: it is malformed or too large.
    """
    try:
        return _Rewriter(gbnf.read(text)).lark()
    except RecursionError as cause:
        raise gbnf.wrong("rules that use each other over hundreds of steps", "fewer") from cause


class _Rewriter:
    """Chooses lexemes, then writes the grammar.

    Sets of characters are ints, a bit for each range that no class cuts.
    """

    def __init__(self, rules: dict[str, Node]) -> None:
        self._rules = rules
        classes = {part for rule in rules.values() for part in gbnf.parts(rule) if isinstance(part, Chars)}
        edges = sorted({edge for c in classes for low, high in c.ranges for edge in (low, high + 1)})
        bit = {edge: place for place, edge in enumerate(edges)}
        self._symbols = {c: sum((1 << bit[high + 1]) - (1 << bit[low]) for low, high in c.ranges) for c in classes}
        self._open: set[str] = set()
        self._sizes: dict[str, int] = {}
        self._measure(Rule("root"), self._sizes)
        self._begins: dict[Node, tuple[bool, int]] = {}
        self._find_begins()
        self._broken: set[Node] = set()

    def lark(self) -> str:
        while conflicts := self._conflicts():
            self._broken |= conflicts
        names: dict[Node, str] = {}
        rules: dict[str, str] = {}
        places = {name: place for place, name in enumerate(self._rules)}

        def write(node: Node) -> str:
            if self._is_lexeme(node):
                empty, _ = self._begin(node)
                return names.setdefault(node, f"T{len(names)}") + ("?" if empty else "")
            if isinstance(node, Rule):
                name = f"r{places[node.name]}"
                if name not in rules:
                    rules[name] = ""
                    rules[name] = write(self._rules[node.name])
                return name
            if isinstance(node, Repeat):
                most = "" if node.most is None else node.most
                return f"({write(node.item)}){{{node.least},{most}}}" if node.most != 0 else '""'
            if isinstance(node, Either):
                return "(" + " | ".join(map(write, node.items)) + ")"
            assert isinstance(node, Chain)
            return " ".join(map(write, self._runs(node))) or '""'

        lines = [f"start: {write(Rule('root'))}"]
        lines += [f"{name}: {body}" for name, body in rules.items()]
        for node, name in names.items():
            some = " & /(?s:.+)/" if self._begin(node)[0] else ""
            lines.append(f"{name}: /{self._regex(node)}/{some}")
        return "\n".join(lines) + "\n"

    def _measure(self, node: Node, sizes: dict[str, int]) -> int:
        """Characters and classes of a node written out; more than POSITIONS if there are, or it is recursive.

        Fills `sizes`, a rule after those it uses.
        """
        if isinstance(node, Chars):
            return 1
        if isinstance(node, Rule):
            if node.name not in self._open:
                self._open.add(node.name)
                sizes[node.name] = self._measure(self._rules[node.name], sizes)
            return sizes.get(node.name, POSITIONS + 1)
        times = max(node.least, node.most or 0, 1) if isinstance(node, Repeat) else 1
        return min(times * sum([self._measure(child, sizes) for child in gbnf.children(node)]), POSITIONS + 1)

    def _is_lexeme(self, node: Node) -> bool:
        return isinstance(node, Chars) or (
            node not in self._broken and 0 < self._measure(node, self._sizes) <= POSITIONS
        )

    def _runs(self, node: Chain) -> list[Node]:
        """A sequence's items; neighbours that may be one lexeme together are one."""
        runs: list[Node] = []
        joined: list[Node] = []
        for item in (*node.items, None):
            if item is not None and self._is_lexeme(item):
                whole = Chain((*joined, item))
                if not joined or self._is_lexeme(whole):
                    joined.append(item)
                    continue
            if joined:
                runs.append(joined[0] if len(joined) == 1 else Chain(tuple(joined)))
            joined = []
            if item is not None:
                if self._is_lexeme(item):
                    joined = [item]
                else:
                    runs.append(item)
        return runs

    def _begin(self, node: Node) -> tuple[bool, int]:
        """Whether a node may be empty, and with which characters it may begin."""
        if isinstance(node, Chars):
            return False, self._symbols[node]
        if node in self._begins or isinstance(node, Rule):
            return self._begins.get(node, (False, 0))
        if isinstance(node, Repeat):
            empty, first = self._begin(node.item)
            return empty or node.least == 0, first if node.most != 0 else 0
        if isinstance(node, Either):
            begins = [self._begin(item) for item in node.items]
            return any(empty for empty, _ in begins), _union(first for _, first in begins)
        first = 0
        for item in node.items:  # a Chain
            empty, more = self._begin(item)
            first |= more
            if not empty:
                return False, first
        return True, first

    def _find_begins(self) -> None:
        changed = True
        while changed:
            changed = False
            for name in self._sizes:
                begin = self._begin(self._rules[name])
                changed |= begin != self._begins.get(Rule(name))
                self._begins[Rule(name)] = begin

    def _follows(self) -> dict[Node, int]:
        """For each lexeme the characters that may come right behind it."""
        found: dict[Node, int] = {}
        behind: dict[str, int] = {"root": 0}
        changed = True

        def walk(node: Node, after: int) -> None:
            nonlocal changed
            if self._is_lexeme(node):
                found[node] = found.get(node, 0) | after
            elif isinstance(node, Rule):
                now = behind.get(node.name, 0) | after
                changed |= node.name not in behind or now != behind[node.name]
                behind[node.name] = now
            elif isinstance(node, Either):
                for item in node.items:
                    walk(item, after)
            elif isinstance(node, Repeat):
                walk(node.item, after | (self._begin(node.item)[1] if node.most != 1 else 0))
            elif isinstance(node, Chain):
                for item in reversed(self._runs(node)):
                    walk(item, after)
                    empty, first = self._begin(item)
                    after = first | (after if empty else 0)

        while changed:
            changed = False
            walk(Rule("root"), 0)
            for name in reversed(self._sizes):
                if name in behind and not self._is_lexeme(Rule(name)):
                    walk(self._rules[name], behind[name])
        return found

    def _conflicts(self) -> set[Node]:
        """Lexemes that could run on where another, or a shorter form of themselves, should have ended."""
        follows = self._follows()
        automaton = _Positions(self._rules, self._symbols)
        start: set[int] = set()
        ends: dict[int, Node] = {}
        for lexeme in follows:
            _, first, last = automaton.add(lexeme)
            start |= first
            ends.update(dict.fromkeys(last, lexeme))
            automaton.mark(lexeme)
        conflicts: set[Node] = set()
        seen: set[frozenset[int]] = set()
        left, work = [frozenset[int]()], 0  # the empty state is the beginning
        while left:
            state = left.pop()
            ended = _union(follows[ends[place]] for place in state if place in ends)
            going: dict[int, set[int]] = {}
            for place in automaton.after(state) if state else start:
                symbols = automaton.symbols[place]
                going.setdefault(symbols, set()).add(place)
                if symbols & ended:
                    conflicts.add(automaton.owner[place])
            atoms, steps = _apart(going)
            work += steps
            for places in atoms:
                work += len(places)
                if work > WORK:
                    raise gbnf.wrong("rules that are too much alike to tell apart in bounds", "simpler ones")
                if places not in seen:
                    seen.add(places)
                    left.append(places)
        return {lexeme for lexeme in conflicts if not isinstance(lexeme, Chars)}

    def _regex(self, node: Node) -> str:
        if isinstance(node, Chars):
            return "[" + "".join(f"\\u{{{low:X}}}-\\u{{{high:X}}}" for low, high in node.ranges) + "]"
        if isinstance(node, Rule):
            return self._regex(self._rules[node.name])
        if isinstance(node, Repeat):
            return f"(?:{self._regex(node.item)}){{{node.least},{'' if node.most is None else node.most}}}"
        if isinstance(node, Either):
            return "(?:" + "|".join(map(self._regex, node.items)) + ")"
        return "".join(map(self._regex, node.items))


class _Positions:
    """Each character or class of the lexemes, and which may follow which (Glushkov's construction)."""

    def __init__(self, rules: dict[str, Node], symbols: dict[Chars, int]) -> None:
        self._rules, self._symbols = rules, symbols
        self.symbols: list[int] = []
        self.next: list[set[int]] = []
        self.owner: list[Node] = []

    def after(self, state: frozenset[int]) -> set[int]:
        """Positions behind any of these."""
        return set[int]().union(*(self.next[place] for place in state))

    def mark(self, lexeme: Node) -> None:
        """All positions added since the last mark are this lexeme's."""
        self.owner += [lexeme] * (len(self.symbols) - len(self.owner))

    def add(self, node: Node) -> tuple[bool, set[int], set[int]]:
        """Whether a node may be empty, its first positions and its last."""
        if isinstance(node, Chars):
            self.symbols.append(self._symbols[node])
            self.next.append(set())
            only = {len(self.symbols) - 1}
            return False, only, only
        if isinstance(node, Rule):
            return self.add(self._rules[node.name])
        if isinstance(node, Either):
            added = [self.add(item) for item in node.items]
            return any(a[0] for a in added), set().union(*(a[1] for a in added)), set().union(*(a[2] for a in added))
        if isinstance(node, Chain):
            return self._chain([self.add(item) for item in node.items])
        copies = [self.add(node.item) for _ in range(max(node.least, node.most or 0, node.most is None))]
        if node.most is None and copies:
            for place in copies[-1][2]:
                self.next[place] |= copies[-1][1]
        return self._chain([(c[0] or i >= node.least, c[1], c[2]) for i, c in enumerate(copies)])

    def _chain(self, parts: list[tuple[bool, set[int], set[int]]]) -> tuple[bool, set[int], set[int]]:
        empty, first, last = True, set[int](), set[int]()
        for may_be_empty, begin, end in parts:
            for place in last:
                self.next[place] |= begin
            first |= begin if empty else set()
            last = end | (last if may_be_empty else set())
            empty = empty and may_be_empty
        return empty, first, last


def _union(masks: Iterable[int]) -> int:
    whole = 0
    for mask in masks:
        whole |= mask
    return whole


def _apart(going: dict[int, set[int]]) -> tuple[list[frozenset[int]], int]:
    """Where each character leads, for disjoint sets of characters; and the steps this took."""
    atoms: list[tuple[int, frozenset[int]]] = []
    seen = steps = 0
    for symbols, places in going.items():
        if symbols & seen:
            steps += len(atoms)
            split: list[tuple[int, frozenset[int]]] = []
            for mask, known in atoms:
                if mask & symbols:
                    split.append((mask & symbols, known | places))
                if mask & ~symbols:
                    split.append((mask & ~symbols, known))
            atoms = split
        if symbols & ~seen:
            atoms.append((symbols & ~seen, frozenset(places)))
        seen |= symbols
    return [places for _, places in atoms], steps
