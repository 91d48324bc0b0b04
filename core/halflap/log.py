"""Events of the runtime, on the standard logger `halflap`; silent unless the host configures logging."""

from __future__ import annotations

import logging
from functools import cache
from typing import Any

logging.getLogger("halflap").addHandler(logging.NullHandler())


@cache
def _logger() -> Any:
    import structlog  # at the first event: it costs a tenth of a second, and most processes have none

    return structlog.wrap_logger(
        logging.getLogger("halflap"),
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.add_log_level,
            structlog.processors.format_exc_info,
            structlog.stdlib.render_to_log_kwargs,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
    )


class _Log:
    def __getattr__(self, name: str) -> Any:
        if name == "debug" and not logging.getLogger("halflap").isEnabledFor(logging.DEBUG):
            return _nothing
        return getattr(_logger(), name)


def _nothing(event: str, **facts: object) -> None:
    """What is not asked for is not worth an import."""


log: Any = _Log()
