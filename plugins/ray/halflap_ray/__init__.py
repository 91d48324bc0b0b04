"""Halflap's server as a Ray Serve application: `halflap_ray.deploy("starter", replicas=2)`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from halflap_ray.application import app, connect, deploy

__all__ = ["app", "connect", "deploy"]


def __getattr__(name: str) -> Any:
    if name in __all__:  # Ray takes a second to import, and the rest of the package does without
        return getattr(import_module("halflap_ray.application"), name)
    raise AttributeError(f"module 'halflap_ray' has no attribute {name!r}")
