"""Certificates, the judge of greedy output, and the command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attrs import evolve
from click.testing import CliRunner

import halflap.testing
from halflap.device.reference import ReferenceDevice
from halflap.testing import Case, check_greedy, read, run, run_and_store
from halflap.testing import certificate as certificates
from halflap.testing.__main__ import main

ROWS = np.array([[0, 1, 2], [3, 0, 1], [0.5, 0.4, 0], [9, 9, 9]], np.float32)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Certificates over a few cases instead of all."""
    whole = certificates.run_all
    monkeypatch.setattr(certificates, "run_all", lambda device: whole(device, "errors/*"))


@pytest.mark.usefixtures("quick")
def test_a_certificate_is_stored_read_and_voided_by_any_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device, seen = ReferenceDevice(), []
    assert read(device, tmp_path) is None
    made = run_and_store(device, tmp_path, seen.append)
    assert made.ok
    assert made.cases == len(seen) > 10
    assert read(device, tmp_path) == made
    (stored,) = (tmp_path / "certificates").iterdir()
    assert json.loads(stored.read_text()) == made.to_dict()
    for change in ({"about": "another driver"}, {"id": "reference "}, {"backend": "cpu"}):
        other = evolve(device.info, **change)
        monkeypatch.setattr(ReferenceDevice, "info", property(lambda self, other=other: other))
        assert read(device, tmp_path) is None, change
        monkeypatch.undo()
    monkeypatch.setattr(certificates, "suite_version", lambda: "0")
    assert read(device, tmp_path) is None
    monkeypatch.undo()
    stored.write_text("{")
    assert read(device, tmp_path) is None


@pytest.mark.usefixtures("quick")
def test_a_certificate_keeps_what_failed(tmp_path: Path) -> None:
    class Broken(ReferenceDevice):
        def supports(self, node: Any, graph: Any) -> str | None:
            return None

    made = run_and_store(Broken(), tmp_path)
    assert not made.ok
    assert set(made.failed) == {f"errors/unknown-{what}" for what in ("op", "attribute", "version", "weight-type")}
    assert "want a reason" in made.failed["errors/unknown-op"]


def test_a_case_that_breaks_is_a_failed_case() -> None:
    result = run(Case("op/none", "op", 3, {}), ReferenceDevice())
    assert not result.ok
    assert "KeyError" in result.detail
    assert "seed 3" in result.detail


def test_greedy_output_is_judged_by_its_distance_from_the_best() -> None:
    def logits(ids: Any) -> Any:
        assert list(ids) == [5, 6, 2]
        return ROWS[:3]

    right = check_greedy(lambda ids: ROWS[:2], [5], [2, 0])
    assert right
    assert right.gap == 0
    near = check_greedy(logits, [5, 6], [2, 1], 0.0)
    assert not near
    assert (near.place, near.token, near.best) == (0, 2, 0)
    assert near.gap == 2
    assert check_greedy(logits, [5, 6], [2, 1], 2.0)


def test_the_judge_may_be_an_object_and_refuses_nonsense() -> None:
    class Judge:
        def logits(self, ids: Any) -> Any:
            return ROWS[: len(ids)]

    assert check_greedy(Judge(), [1], [2])
    assert not check_greedy(lambda ids: ROWS[:1] * np.nan, [1], [2], 1e9)
    with pytest.raises(ValueError, match="want at least one of each"):
        check_greedy(Judge(), [], [2])
    with pytest.raises(ValueError, match="got 1 rows, want 2"):
        check_greedy(lambda ids: ROWS[:1], [1, 2], [2])


def test_a_model_file_is_judged_on_the_reference_device(shared: Path) -> None:
    answers = np.load(shared / "oracle" / "families" / "qwen3-base.npz")
    path = shared / "oracle" / "families" / "qwen3-base.gguf"
    assert check_greedy(path, answers["tokens"].tolist(), answers["greedy"].tolist(), 1e-3)
    assert not check_greedy(path, answers["tokens"].tolist(), [7] * 8, 1e-3)


def test_the_command_prints_a_table_and_says_by_its_code() -> None:
    good = CliRunner().invoke(main, ["--device", "reference", "--only", "op/scale/*", "--all"])
    assert good.exit_code == 0
    assert "op/scale/by-0.37" in good.output
    as_json = CliRunner().invoke(main, ["--device", "reference", "--only", "scale", "--json"])
    data = json.loads(as_json.stdout)
    assert data["ok"]
    assert data["results"][0]["error"] < 1e-6
    assert CliRunner().invoke(main, ["--device", "reference", "--only", "nothing-like-it"]).exit_code == 2
    assert CliRunner().invoke(main, ["--device", "no-such"]).exit_code == 2


def test_the_suite_needs_neither_pytest_nor_hypothesis() -> None:
    code = (
        "import sys\nsys.modules.update(pytest=None, hypothesis=None)\nfrom halflap.testing.__main__ import main\n"
        "main(['--device', 'reference', '--only', 'errors/*', '--json'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_public_names_are_sorted_and_exist() -> None:
    assert sorted(halflap.testing.__all__) == halflap.testing.__all__
    for name in halflap.testing.__all__:
        assert getattr(halflap.testing, name) is not None
