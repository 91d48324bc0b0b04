"""The Ray Serve application: replicas that compute, and a front that speaks HTTP."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import evolve
from pydantic import BaseModel, ConfigDict
from ray import serve
from ray.serve.config import RequestRouterConfig
from ray.serve.handle import DeploymentHandle

from halflap import Model
from halflap.engine.engine import QUEUE
from halflap.errors import EngineError
from halflap_ray.replica import Replica, connected
from halflap_ray.router import BeginningsRouter
from halflap_server.app import App
from halflap_server.pool import Pool
from halflap_server.settings import Settings
from halflap_server.sources import Source

BEHIND_A_PROXY = Settings(host="0.0.0.0")
"""Ray's proxies listen, under names that only whoever runs them knows; so the Host header is not looked at."""
UNDER_WAY = 8
"""Answers under way per replica that autoscaling aims at."""


@serve.ingress()
class Front:
    """`halflap_server`'s app, whose one model is the replicas'."""

    def __init__(self, replicas: DeploymentHandle, source: Source, settings: Settings) -> None:
        self._app = App(settings, lambda: Pool([source], load=lambda _: connected(replicas)))

    def __serve_build_asgi_app__(self) -> App:
        return self._app

    def check_health(self) -> None:
        if self._app.failure is not None:
            raise self._app.failure


class Arguments(BaseModel):
    """Of `serve run halflap_ray:app KEY=VALUE …`.

    Attributes:
        model: registered name, or a path that every replica's machine has.
        name: what clients ask for; empty: the model's.
        replicas: how many; with `most`, the fewest.
        most: how many autoscaling may make of them.
        ctx, threads: as in `halflap.load`.
        devices: as in `halflap.load`, with commas between.
        cpus, gpus: of each replica, as Ray counts them.
        keys: API keys, with commas between; none: the API is open.
    """

    model_config = ConfigDict(extra="forbid")
    model: str
    name: str = ""
    replicas: int = 1
    most: int | None = None
    ctx: int | None = None
    threads: int | None = None
    devices: str = ""
    cpus: float = 1
    gpus: float = 0
    keys: str = ""


def app(arguments: Arguments) -> serve.Application:
    """The application, for `serve run`."""
    loading = {"ctx": arguments.ctx, "threads": arguments.threads, "devices": _listed(arguments.devices) or None}
    return built(
        arguments.model,
        name=arguments.name,
        replicas=arguments.replicas,
        autoscale=None if arguments.most is None else (arguments.replicas, arguments.most),
        settings=evolve(BEHIND_A_PROXY, keys=tuple(_listed(arguments.keys))),
        actor={"num_cpus": arguments.cpus, "num_gpus": arguments.gpus},
        **{key: value for key, value in loading.items() if value is not None},
    )


def built(
    model: str,
    /,
    *,
    name: str = "",
    replicas: int = 1,
    autoscale: tuple[int, int] | Mapping[str, Any] | None = None,
    settings: Settings = BEHIND_A_PROXY,
    actor: Mapping[str, Any] | None = None,
    **loading: Any,
) -> serve.Application:
    """The application, with `deploy`'s arguments."""
    scale: dict[str, Any] = {"num_replicas": replicas}
    if autoscale is not None:
        if not isinstance(autoscale, Mapping):
            fewest, most = autoscale
            autoscale = {"min_replicas": fewest, "max_replicas": most, "target_ongoing_requests": UNDER_WAY}
        scale = {"autoscaling_config": dict(autoscale)}
    replica = serve.deployment(
        Replica,
        name="Replica",
        **scale,
        max_ongoing_requests=QUEUE,
        max_queued_requests=QUEUE,
        ray_actor_options=dict(actor or {"num_cpus": 1}),
        request_router_config=RequestRouterConfig(request_router_class=BeginningsRouter),
        graceful_shutdown_timeout_s=settings.drain_seconds,
    )
    front = serve.deployment(
        Front,
        name="Front",
        num_replicas=1,
        max_ongoing_requests=settings.connections,
        ray_actor_options={"num_cpus": 0},
        graceful_shutdown_timeout_s=settings.drain_seconds,
    )
    source = Source(name or Path(model).stem, model, at_start=True, loading=loading)
    return front.bind(replica.bind(model, loading), source, settings)


def deploy(
    model: str,
    /,
    *,
    name: str = "",
    replicas: int = 1,
    autoscale: tuple[int, int] | Mapping[str, Any] | None = None,
    settings: Settings = BEHIND_A_PROXY,
    actor: Mapping[str, Any] | None = None,
    application: str = "halflap",
    route_prefix: str = "/",
    **loading: Any,
) -> Model:
    """Deploy replicas of a model on the Ray cluster, behind the server's routes; returns when they answer.

    Args:
        model: registered name, or a path that every replica's machine has.
        name: what clients ask for; empty: the model's.
        autoscale: fewest and most replicas instead of `replicas`, or Serve's own autoscaling_config.
        settings: the server's; Ray's proxies decide on addresses, TLS and connections.
        actor: Ray's resources of each replica, such as {"num_cpus": 4} or {"num_gpus": 1}.
        application: name under which Serve knows it; one deployed before under that name is replaced.
        loading: arguments of `halflap.load`.

    Returns:
        The model, to ask from here; closing it leaves the replicas running, `serve.delete(application)` ends them.

    Raises:
        EngineError: no replica could load the model; says what the last one said.
    """
    options: dict[str, Any] = {"name": name, "replicas": replicas, "autoscale": autoscale, "actor": actor, **loading}
    found = built(model, settings=settings, **options)
    try:
        serve.run(found, name=application, route_prefix=route_prefix)
    except RuntimeError as cause:
        raise EngineError("deployment", got=_reason(application, cause), want="replicas that answer") from cause
    return connect(application)


def connect(application: str = "halflap") -> Model:
    """The model of an application that was deployed before."""
    return connected(serve.get_deployment_handle("Replica", application))


def _reason(application: str, cause: RuntimeError) -> str:
    """The last line of the deepest traceback that Serve kept, which is the error itself."""
    found = serve.status().applications.get(application)
    messages = [each.message for each in found.deployments.values()] if found is not None else []
    lines = [line.strip() for text in (str(cause), *messages) for line in text.splitlines()]
    errors = [line for line in lines if re.match(r"[\w.]+Error: ", line)]
    return errors[-1] if errors else str(cause)


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
