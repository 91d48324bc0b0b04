"""Running conformance cases: plain functions, with neither pytest nor hypothesis."""

from __future__ import annotations

import fnmatch
import importlib
from collections.abc import Iterator
from types import ModuleType

from attrs import evolve

from halflap.device.interface import Device, DeviceInfo
from halflap.errors import HalflapError
from halflap.testing.cases import Case, Failed, NotOffered, Result

FAMILIES = ("op", "weight", "model", "invariance", "memory", "order", "slots", "candidates", "errors", "lifetime")
SEEDS = 1000
"""More than any case's own seed."""


def cases(info: DeviceInfo, only: str = "*", seed: int = 0) -> list[Case]:
    """The cases for a device that says this of itself.

    Args:
        only: part of a name, or a pattern with * and ?.
        seed: another one draws other shapes and other numbers.
    """
    pattern = only if any(c in only for c in "*?[") else f"*{only}*"
    found = (case for family in FAMILIES for case in _family(family).cases(info, seed))
    return [evolve(case, seed=case.seed + SEEDS * seed) for case in found if fnmatch.fnmatch(case.name, pattern)]


def run(case: Case, device: Device) -> Result:
    """Check one case on an open device. Never raises what the device raised: that is a failed case."""
    try:
        measured = _family(case.family).check(case, device)
    except NotOffered as reason:
        return Result(case, True, str(reason), offered=False)
    except Failed as failed:
        return Result(case, False, f"{failed} (seed {case.seed})", failed.error)
    except HalflapError as error:
        return Result(case, False, f"{type(error).__name__}: {error} (seed {case.seed})")
    except Exception as error:
        return Result(case, False, f"untyped {type(error).__name__}: {error} (seed {case.seed})")
    return Result(case, True, "", measured)


def run_all(device: Device, only: str = "*", seed: int = 0) -> Iterator[Result]:
    """Check every case in order, giving each result as it comes."""
    for case in cases(device.info, only, seed):
        yield run(case, device)


def _family(name: str) -> ModuleType:
    return importlib.import_module(f"halflap.testing.families.{name}")
