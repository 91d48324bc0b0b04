"""What an operator decides about a server."""

from __future__ import annotations

from pathlib import Path

from attrs import field, frozen


@frozen
class Settings:
    """One server's settings.

    Attributes:
        host: address to bind, unless `uds` names a unix socket.
        keys: API keys, any of which opens the API; none: it is open.
        api_prefix: path before every route, such as "/llm".
        cors_origins: web origins whose pages may call; "*" all; none: only the server's own page.
        body_bytes: most bytes of one request's body.
        read_seconds: most seconds that a request's head, and then its body, may take to arrive.
        ping_seconds: silence after which a stream sends a comment; 0: never.
        connections: most connections at once.
        drain_seconds: on SIGTERM, how long answers under way may take to end.
        slot_save_path: folder for saved prefixes; None: saving is off.
        log_prompts: write prompts and answers to the log.
        page: serve the web page.
        show_slots, show_metrics, show_props: serve these pages.
        reasoning_format: where thinking goes unless the request says: "auto", "deepseek" (apart), "none" (in the text).
    """

    host: str = "127.0.0.1"
    port: int = 8080
    uds: Path | None = None
    keys: tuple[str, ...] = field(default=(), repr=False)
    api_prefix: str = ""
    cors_origins: tuple[str, ...] = ()
    tls_key: Path | None = None
    tls_cert: Path | None = None
    body_bytes: int = 64 << 20
    read_seconds: float = 60.0
    ping_seconds: float = 15.0
    connections: int = 2048
    drain_seconds: float = 30.0
    slot_save_path: Path | None = None
    log_prompts: bool = False
    page: bool = True
    show_slots: bool = True
    show_metrics: bool = True
    show_props: bool = True
    reasoning_format: str = "auto"

    @property
    def local(self) -> bool:
        """Only this machine can reach it."""
        return self.uds is not None or self.host in ("127.0.0.1", "::1", "localhost")
