"""halflap serve: models over HTTP."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from halflap.cli import common
from halflap.errors import InvalidRequestError, ModelNotFoundError
from halflap_server.settings import Settings
from halflap_server.sources import Source, checked, named, preset

OPEN_TO_ALL = "Set an API key (--api-key-file), or say --no-key if the network is trusted."


@click.command("serve")
@click.argument("models", nargs=-1)
@click.option("-m", "--model", "model", multiple=True, help="The same as an argument.")
@click.option("--preset", "--models-preset", "presets", type=click.Path(path_type=Path), help="TOML file of models.")
@click.option("-a", "--alias", multiple=True, help="Another name of the only model.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="0: any free port.")
@click.option("--uds", type=click.Path(path_type=Path), help="Listen on a unix socket instead.")
@click.option("--api-key", multiple=True, help="A key that clients must send; see --api-key-file.")
@click.option("--api-key-file", type=click.Path(path_type=Path), help="File of keys, one a line; or HALFLAP_API_KEY.")
@click.option("--no-key", is_flag=True, help="Let everybody in who can reach the address.")
@click.option("--cors-origins", default="", help="Origins whose pages may call, with commas; * for all.")
@click.option("--ssl-key-file", type=click.Path(path_type=Path), help="TLS: the private key.")
@click.option("--ssl-cert-file", type=click.Path(path_type=Path), help="TLS: the certificate and its chain.")
@click.option("--api-prefix", default="", help="Path before every route.")
@click.option("--memory", type=click.IntRange(1), help="Most bytes of loaded models; the longest unused make room.")
@click.option("--models-max", type=click.IntRange(1), help="Most models loaded at once.")
@click.option("--sleep-idle-seconds", type=click.FloatRange(0, min_open=True), help="Unload models idle for so long.")
@click.option("--lazy", is_flag=True, help="Load models when they are first asked for.")
@click.option("--slot-save-path", type=click.Path(path_type=Path), help="Folder for saved prefixes.")
@click.option("--media-path", type=click.Path(path_type=Path), help="Folder that file: URLs of images may name.")
@click.option("-to", "--timeout", default=60.0, show_default=True, help="Seconds a client may take to send a request.")
@click.option("--max-body", default=64 << 20, show_default=True, type=click.IntRange(1024), help="Bytes of one body.")
@click.option("--max-connections", default=2048, show_default=True, type=click.IntRange(1))
@click.option("--drain", default=30.0, show_default=True, help="Seconds that answers may go on after SIGTERM.")
@click.option("--sse-ping-interval", default=15.0, show_default=True, type=click.FloatRange(0), help="0: no pings.")
@click.option("--reasoning-format", default="auto", show_default=True, type=click.Choice(["auto", "deepseek", "none"]))
@click.option("--ui/--no-ui", default=True, help="Serve the web page.")
@click.option("--slots/--no-slots", default=True, help="Serve /slots.")
@click.option("--metrics/--no-metrics", default=True, help="Serve /metrics.")
@click.option("--props/--no-props", default=True, help="Serve /props.")
@click.option("--log-prompts", is_flag=True, help="Write prompts and answers to the log.")
@click.option("--log-jsonl/--no-log-jsonl", default=not sys.stderr.isatty(), help="Log one JSON object a line.")
@click.option("-v", "--verbose", is_flag=True, help="Log more.")
@click.option("--isolation", type=click.Choice(["thread", "process"]), default="thread", show_default=True)
@click.option("--restart", is_flag=True, help="With --isolation process: start a dead one again, and go on.")
@common.placement_options
@common.beside_options
@common.sampling_options
@common.chat_options
@common.as_json
def command(models: tuple[str, ...], model: tuple[str, ...], as_json: bool, **told: Any) -> None:
    """Serve MODELS: files, folders of files, names such as starter, or hf:org/repo[:quant]."""
    sources = _sources([*models, *model], told)
    settings = _settings(told)
    from halflap_server.running import serve  # the web stack is loaded once everything is known to be right

    serve(
        settings,
        sources,
        budget=told["memory"],
        most=told["models_max"],
        json_log=told["log_jsonl"],
        verbose=told["verbose"],
        as_json=as_json,
    )


def _sources(wishes: list[str], told: dict[str, Any]) -> list[Source]:
    scales = common.adapters(told)
    base = Source(
        "",
        "",
        at_start=not told["lazy"],
        loading=_loading(told),
        sampling=common.request_options(told),
        sleep_seconds=told["sleep_idle_seconds"],
        adapters={Path(path).stem: path for path in scales},
        scales={Path(path).stem: scale for path, scale in scales.items()},
    )
    found = preset(told["presets"], base) if told["presets"] else []
    found += named(wishes or ([] if found else ["starter"]), base)
    if told["alias"]:
        if len(found) != 1:
            raise InvalidRequestError("--alias", got=f"{len(found)} models", want="one", field="alias")
        found[0] = _aliased(found[0], told["alias"])
    return list(checked(found).values())


def _aliased(source: Source, names: tuple[str, ...]) -> Source:
    from attrs import evolve

    return evolve(source, aliases=tuple(part for name in names for part in name.split(",")))


def _loading(told: dict[str, Any]) -> dict[str, Any]:
    """What the placement options and their like say to `halflap.load`."""
    wishes = common.wishes(told)
    found: dict[str, Any] = {
        "devices": wishes.devices or None,
        "split": wishes.split,
        "ctx": wishes.ctx,
        "kv_type": wishes.kv_type,
        "kv_rotation": wishes.kv_rotation,
        "threads": wishes.threads,
        "draft": told.pop("draft"),
        "projector": told.pop("mmproj"),
        "chat_template": common.chat_template(told),
        "media_path": told["media_path"],
        "isolation": told["isolation"],
        "restart": told["restart"],
    }
    for name in ("caps", "layers", "pins"):
        if getattr(wishes, name):
            what = f"--{name.removesuffix('s') if name == 'pins' else name}"
            raise InvalidRequestError(
                what, got="it with serve", want="a plan file of the model in a preset", field=name
            )
    return {name: value for name, value in found.items() if value not in (None, ())}


def _settings(told: dict[str, Any]) -> Settings:
    keys = [*told["api_key"], *os.environ.get("HALFLAP_API_KEY", "").split(",")]
    if told["api_key_file"] is not None:
        try:
            keys += told["api_key_file"].read_text("utf-8").splitlines()
        except (OSError, UnicodeError) as cause:
            raise InvalidRequestError(
                "--api-key-file", got=str(cause), want="a readable file", field="api_key"
            ) from cause
    settings = Settings(
        host=told["host"],
        port=told["port"],
        uds=told["uds"],
        keys=tuple(key.strip() for key in keys if key.strip()),
        api_prefix=told["api_prefix"].rstrip("/"),
        cors_origins=tuple(part.strip() for part in told["cors_origins"].split(",") if part.strip()),
        tls_key=told["ssl_key_file"],
        tls_cert=told["ssl_cert_file"],
        body_bytes=told["max_body"],
        read_seconds=told["timeout"],
        ping_seconds=told["sse_ping_interval"],
        connections=told["max_connections"],
        drain_seconds=told["drain"],
        slot_save_path=told["slot_save_path"],
        log_prompts=told["log_prompts"],
        page=told["ui"],
        show_slots=told["slots"],
        show_metrics=told["metrics"],
        show_props=told["props"],
        reasoning_format=told["reasoning_format"],
    )
    if not settings.local and not settings.keys and not told["no_key"]:
        got, want = f"{settings.host!r} without an API key", "a key, or an address that only this machine can reach"
        raise InvalidRequestError("--host", got=got, want=want, fix=OPEN_TO_ALL, field="host")
    if (settings.tls_key is None) != (settings.tls_cert is None):
        raise InvalidRequestError("TLS", got="one of --ssl-key-file and --ssl-cert-file", want="both", field="ssl")
    for path in (settings.slot_save_path, told["media_path"]):
        if path is not None and not path.is_dir():
            raise ModelNotFoundError(f"folder {path}", got="none there", want="an existing folder")
    return settings
