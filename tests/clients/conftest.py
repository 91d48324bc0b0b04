from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.plugins.server.kit import Running, running, starter


@pytest.fixture(scope="session")
def server() -> Iterator[Running]:
    """The bundled model, served to clients that others wrote."""
    with running(starter()) as found:
        yield found
