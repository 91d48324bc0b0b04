"""schemathesis over the OpenAPI page: no 5xx, and nothing that the page does not describe."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.plugins.server.kit import Running

pytest.importorskip("schemathesis", reason="needs the dependency group clients")
pytestmark = pytest.mark.clients
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


def test_the_server_does_what_its_page_says(server: Running, tmp_path: Path) -> None:
    # 501 is what llama-server's clients are told of routes that a server does not offer.
    (tmp_path / "schemathesis.toml").write_text(
        '[checks.not_a_server_error]\nexpected-statuses = ["2xx", "4xx", 501]\n'
    )
    script = Path(sys.executable).with_name("schemathesis")
    done = subprocess.run(
        [str(script), "run", f"{server.url}/openapi.json", "--checks", CHECKS, "--max-examples", "40", "--seed", "1",
         "--phases", "examples,coverage,fuzzing", "--request-timeout", "60", "--exclude-path", "/models/unload"],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
