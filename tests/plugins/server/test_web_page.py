"""The files of the web page: all there, all under the security policy, none that could make markup of text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.resources import files

import pytest

from halflap_server.app import POLICY
from halflap_server.settings import Settings
from tests.plugins.server.kit import Running, running, starter

FILES = {file.name: file.read_text() for file in (files("halflap_server") / "page").iterdir()}
KINDS = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
FORBIDDEN = (
    r"\b(innerHTML|outerHTML|insertAdjacentHTML|createContextualFragment|DOMParser|srcdoc)\b|document\.write|\beval\("
    r"|new Function\b|\bset(?:Timeout|Interval)\([\"'`]|\sstyle=|<script>|\son\w+=[\"']|javascript:|@import|url\("
)


@pytest.fixture(scope="module")
def keyed() -> Iterator[Running]:
    """A server behind a key and a prefix."""
    with running(starter(at_start=False), settings=Settings(port=0, keys=("secret",), api_prefix="/llm")) as found:
        yield found


def referred(name: str) -> set[str]:
    """Files that a file of the page asks for."""
    text = FILES[name]
    if name.endswith(".html"):
        return set(re.findall(r'(?:src|href)="page/([^"]+)"', text))
    return set(re.findall(r'from "\./([^"]+)"', text))


def test_every_file_is_reached_from_the_index_and_none_is_missing() -> None:
    reached, following = {"index.html"}, ["index.html"]
    while following:
        new = referred(following.pop()) - reached
        reached |= new
        following += new
    assert reached == set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_served_without_a_key_and_with_its_policy(keyed: Running, name: str) -> None:
    for path in ("/llm/", "/llm/index.html") if name == "index.html" else (f"/llm/page/{name}",):
        reply = keyed.get(path)
        assert (reply.status_code, reply.text) == (200, FILES[name])
        assert reply.headers["content-security-policy"] == POLICY
        assert reply.headers["content-type"].startswith(KINDS[name.rsplit(".")[-1]])
        assert reply.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/page/nowhere.js", "/page/../app.py", "/page/%2e%2e/app.py", "/page/..%2fapp.py"])
def test_nothing_else_is_served(keyed: Running, path: str) -> None:
    reply = keyed.get(f"/llm{path}")
    assert reply.status_code in (401, 404)
    assert "class App" not in reply.text


@pytest.mark.parametrize("name", FILES)
def test_a_file_makes_no_markup_of_text_and_asks_no_other_host(name: str) -> None:
    text = FILES[name]
    assert not re.search(FORBIDDEN, text)
    hosts = set(re.findall(r"https?://([\w.-]+)", text))
    assert hosts <= {"www.w3.org"}  # the name of SVG's namespace, which is no request


def test_a_server_may_go_without_the_page() -> None:
    with running(starter(at_start=False), settings=Settings(port=0, page=False)) as server:
        assert {server.get(path).status_code for path in ("/", "/index.html", "/page/main.js")} == {404}


def test_looking_at_a_model_does_not_keep_it_awake() -> None:
    with running(starter()) as server:
        served = server.pool.entries["starter"].served
        assert served is not None
        before = served.used
        assert server.get("/props").json()["is_sleeping"] is False
        assert served.used == before
        server.post("/completion", {"prompt": "a", "n_predict": 1})
        assert served.used > before
