from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.plugins.server.kit import Running, running, starter


@pytest.fixture(scope="session")
def server() -> Iterator[Running]:
    """The bundled model, served; tests leave it as they found it."""
    with running(starter(aliases=("gpt-4o",))) as found:
        yield found
