"""Proof for devices: conformance cases, certificates, a fake device, and a judge of greedy output.

    python -m halflap.testing --device cpu

needs neither pytest nor hypothesis. docs/write-a-backend.md shows how a new backend gets there.
"""

from __future__ import annotations

from halflap.testing.cases import Case, Result
from halflap.testing.certificate import Certificate, read, run_and_store, suite_version
from halflap.testing.conformance import cases, run, run_all
from halflap.testing.fake import FakeBackend, FakeDevice, Fault
from halflap.testing.greedy import Greedy, check_greedy
from halflap.testing.tiny import TinyModel, tiny_model

__all__ = [
    "Case",
    "Certificate",
    "FakeBackend",
    "FakeDevice",
    "Fault",
    "Greedy",
    "Result",
    "TinyModel",
    "cases",
    "check_greedy",
    "read",
    "run",
    "run_all",
    "run_and_store",
    "suite_version",
    "tiny_model",
]
