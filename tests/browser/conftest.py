"""Chromium against a server in the tests' process; whatever a test does, the page must stay quiet and at home."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.plugins.server.kit import Running, running, starter

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

QUIET = "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync".split()


@pytest.fixture(scope="session")
def server() -> Iterator[Running]:
    with running(starter(), starter("other", at_start=False)) as found:
        yield found


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    api = pytest.importorskip("playwright.sync_api", reason="needs the dependency group browser")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs Chromium, as Debian packages it")
    with api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=chromium, args=[*QUIET, "--no-first-run"])
        yield found
        found.close()


@pytest.fixture
def opened(browser: Browser, server: Running) -> Iterator[Callable[..., Page]]:
    """Opens pages, each in a profile of its own, and sees what they try.

    No request leaves the server, nothing breaks the security policy, nothing is logged as an error, no script fails.
    `allowed`: a pattern of messages that the test itself provokes.
    """
    contexts: list[BrowserContext] = []
    wrong: list[str] = []

    def open_page(url: str = server.url, allowed: str = "$^", width: int = 1200, **facts: Any) -> Page:
        facts.setdefault("viewport", {"width": width, "height": 760})
        context = browser.new_context(service_workers="block", **facts)
        contexts.append(context)

        def asked(request: Any) -> None:
            if not request.url.startswith((url, "data:", "blob:")):
                wrong.append(f"asked for {request.url[:200]}")

        def logged(message: Any) -> None:
            if message.type in ("error", "warning") and not re.search(allowed, message.text):
                wrong.append(f"logged {message.text}")

        context.on("request", asked)
        context.on("console", logged)
        context.on("weberror", lambda error: wrong.append(f"failed: {error.error}"))
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.goto(url)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []


@pytest.fixture
def page(opened: Callable[..., Page]) -> Page:
    """The page with a loaded model, short and greedy answers."""
    found = opened()
    found.locator("#model .dot.loaded").wait_for()
    brief(found)
    return found


def brief(page: Page, tokens: int = 40) -> None:
    """Greedy answers of at most so many tokens."""
    page.evaluate(
        """async (n) => {
          const settings = await import("/page/settings.js");
          settings.change("temperature", 0);
          settings.change("max_tokens", n);
        }""",
        tokens,
    )
