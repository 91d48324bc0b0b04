"""Events of the runtime, on the standard logger `halflap`; silent unless the host configures logging."""

from __future__ import annotations

import logging
from typing import Any

import structlog

logging.getLogger("halflap").addHandler(logging.NullHandler())

log: Any = structlog.wrap_logger(
    logging.getLogger("halflap"),
    processors=[
        structlog.stdlib.filter_by_level,
        structlog.stdlib.add_log_level,
        structlog.processors.format_exc_info,
        structlog.stdlib.render_to_log_kwargs,
    ],
    wrapper_class=structlog.stdlib.BoundLogger,
)
