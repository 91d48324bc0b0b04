# ruff: noqa: E501 - one template a line
"""Templates that loop, recurse or make gigabytes end within a second and 100 MB, as a typed error."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

DOUBLE = "{% set ns = namespace(s='abcdefgh', l=[1]) %}{% for i in range(60) %}"
NASTY = {
    "printing for ever": "{% for i in range(99999) %}{% for j in range(99999) %}x{% endfor %}{% endfor %}",
    "loops over lists": "{% set l = range(99999) | list %}{% for a in l %}{% for b in l %}{% endfor %}{% endfor %}",
    "empty loops": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "a recursive loop": "{% for a in [1, 2] recursive %}{{ loop([1, 2]) }}{% endfor %}",
    "endless recursion": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "a tree of calls": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(40) }}",
    "a long range": "{% for i in range(10**9) %}x{% endfor %}",
    "doubling with ~": DOUBLE + "{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
    "doubling with +": DOUBLE + "{% set ns.s = ns.s + ns.s %}{% endfor %}",
    "doubling with *": DOUBLE + "{% set ns.s = ns.s * 2 %}{% endfor %}",
    "doubling with join": DOUBLE + "{% set ns.s = [ns.s, ns.s] | join %}{% endfor %}",
    "doubling with replace": DOUBLE + "{% set ns.s = ns.s | replace('a', ns.s) %}{% endfor %}",
    "doubling with a method": DOUBLE + "{% set ns.s = ns.s.replace('a', ns.s) %}{% endfor %}",
    "doubling with tojson": DOUBLE + "{% set ns.s = [ns.s, ns.s] | tojson %}{% endfor %}",
    "doubling with format": DOUBLE + "{% set ns.s = '%s%s' | format(ns.s, ns.s) %}{% endfor %}",
    "doubling with %": DOUBLE + "{% set ns.s = '%s%s' % (ns.s, ns.s) %}{% endfor %}",
    "doubling with .format": DOUBLE + "{% set ns.s = '{0}{0}'.format(ns.s) %}{% endfor %}",
    "doubling with a block": DOUBLE + "{% set b %}{{ ns.s }}{{ ns.s }}{% endset %}{% set ns.s = b %}{% endfor %}",
    "doubling with a macro": "{% macro d(s) %}{{ s }}{{ s }}{% endmacro %}"
    + DOUBLE
    + "{% set ns.s = d(ns.s) %}{% endfor %}",
    "doubling with .join": DOUBLE + "{% set ns.s = ns.s.join(['', '', '']) %}{% endfor %}",
    "doubling a list": DOUBLE + "{% set ns.l = ns.l + ns.l %}{% endfor %}",
    "a list of itself": DOUBLE + "{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l }}",
    "a list of itself as JSON": DOUBLE + "{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l | tojson }}",
    "a mapping of itself": DOUBLE + "{% set ns.l = {'a': ns.l, 'b': ns.l} %}{% endfor %}{{ ns.l }}",
    "a list in itself": "{% set l = [] %}{% set _ = l.append(l) %}{{ l }}{{ l | tojson }}",
    "lists appended to": "{% set l = [1] %}{% for i in range(60) %}{% set _ = l.append(l + l) %}{% endfor %}{{ l }}",
    "two trees compared": DOUBLE
    + "{% set ns.l = [ns.l, ns.l] %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.l == ns.s }}",
    "namespaces in each other": "{% set a = namespace(x=1) %}{% for i in range(3) %}{% set a.x = a %}{% endfor %}{{ a }}",
    "many strings kept": "{% set ns = namespace(l=[]) %}{% for i in range(9999) %}{% set ns.l = ns.l + ['x' * 1000000 ~ i] %}{% endfor %}",
    "many slices kept": "{% set s = 'x' * 4000000 %}{% set l = [] %}{% for i in range(9999) %}{% set _ = l.append(s[i:]) %}{% endfor %}",
    "wide strings": "{% set ns = namespace(l=[]) %}{% for i in range(99) %}{% set ns.l = ns.l + ['\U0001f600' * 4000000 ~ i] %}{% endfor %}",
    "a captured flood": "{% set s = 'x' * 4000000 %}{% set t %}{% for i in range(99999) %}{{ s }}{% endfor %}{% endset %}{{ t | length }}",
    "a captured flood of its own": "{% set t %}{% for i in range(99999) %}"
    + "y" * 50_000
    + "{% endfor %}{% endset %}{{ t | length }}",
    "a flood": "{% set s = 'x' * 4000000 %}{% for i in range(99999) %}{{ s }}{% endfor %}",
    "a large product": "{{ 'x' * 10**12 }}",
    "a large list": "{{ [0] * 10**12 }}",
    "a large power": "{{ 10 ** (10 ** 10) }}",
    "squaring": "{% set ns = namespace(n=7) %}{% for i in range(60) %}{% set ns.n = ns.n * ns.n %}{% endfor %}",
    "wide fields": "{{ '%1000000000d' | format(3) }}",
    "wide fields with %": "{{ '%1000000000d' % 3 }}",
    "fields as wide as told": "{{ '%*d' % (1000000000, 3) }}",
    "fields of .format": "{{ '{:1000000000}'.format(3) }}",
    "fields of .format as wide as told": "{{ '{:{}}'.format(3, 1000000000) }}",
    "centred": "{{ 'x' | center(1000000000) }}{{ 'x'.center(1000000000) }}",
    "filled": "{{ 'x'.zfill(1000000000) }}",
    "tabs": "{{ ('\t' * 1000000).expandtabs(4000000) }}",
    "indented": "{{ ('x\n' * 1000000) | indent('y' * 1000000) }}",
    "indented JSON": "{{ (range(99999) | list) | tojson(indent=1000000) }}",
    "split": "{{ ('x ' * 2000000).split() | length }}",
    "replaced nothing": "{{ ('x' * 1000000).replace('', 'y' * 1000000) | length }}",
    "translated": "{{ 'aaaa'.translate({97: 'x' * 4000000}) }}",
    "lorem ipsum": "{{ lipsum(n=1000000) }}",
    "tags stripped": "{{ ('<!--' * 1000000) | striptags }}",
    "made while it is compiled": "{{ 'x' | center(1000000000) }}",
    "a large source": "{{ a }}" * 100_000,
    "deep brackets": "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "deep blocks": "{% for a in [1] %}" * 60 + "{% endfor %}" * 60,
    "a long date": "{{ strftime_now('%Y' * 1000000) }}",
}

CHILD = """
import json, os, resource, sys, time
from halflap.errors import TemplateError
from halflap.text.chat.template import ChatTemplate
messages = [{"role": "user", "content": "x"}]
ChatTemplate("{% for m in messages %}{{ m.content }}{% endfor %}").render(messages)
for name, source in json.load(sys.stdin).items():
    read, write = os.pipe()
    child = os.fork()
    if not child:
        before, begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
        try:
            said = "".join(p.text for p in ChatTemplate(source).render(messages))[:100]
            kind = "rendered"
        except TemplateError as error:
            kind, said = "TemplateError", str(error)[:300]
        except BaseException as error:
            kind, said = type(error).__name__, str(error)[:300]
        took = time.monotonic() - begun
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        os.write(write, json.dumps([name, kind, said, took, grown]).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        print(pipe.read() or json.dumps([name, "died", "", 0, 0]), flush=True)
    os.waitpid(child, 0)
"""


@pytest.fixture(scope="module")
def found() -> dict[str, list[Any]]:
    done = subprocess.run(
        [sys.executable, "-c", CHILD], input=json.dumps(NASTY), capture_output=True, text=True, timeout=600,
        env={**os.environ}, check=True,
    )  # fmt: skip
    return {line[0]: line[1:] for line in map(json.loads, done.stdout.splitlines())}


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is counted in KiB here, and children are forked")
@pytest.mark.parametrize("name", NASTY)
def test_a_nasty_template_is_stopped(name: str, found: dict[str, list[Any]]) -> None:
    kind, said, seconds, megabytes = found[name]
    assert kind == "TemplateError", (kind, said)
    assert "got" in said
    assert "want" in said
    assert seconds < 10  # the limit is a second
    assert megabytes < 100, said
