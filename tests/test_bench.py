"""The servers that the benchmarks measure answer as what they stand for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("kind", ["raw", "middleware", "starlette", "gate", "stream"])
def test_a_server_that_is_measured_asks_to_be_paid(kind: str) -> None:
    """402 and an offer; measuring errors would be quick."""
    path = "/stream/1" if kind == "stream" else "/paid/1"
    other = {"stream": "0", "gate": "http://127.0.0.1:9"}.get(kind, "")
    command = [sys.executable, "-m", "bench.sessionserver", "tempo", kind, "memory:", "1", other]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            port = json.loads(server.stdout.readline())["port"]
            answer = httpx.get(f"http://127.0.0.1:{port}{path}", trust_env=False)
        finally:
            server.terminate()
    assert answer.status_code == 402
    assert 'method="tempo"' in answer.headers["www-authenticate"]
