"""``python app.py`` as a user starts it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.slow
@pytest.mark.parametrize("way", ["flags", "environment"])
def test_the_app_listens_where_it_is_told(way):
    port = free_port()
    flags = ["--host", "127.0.0.1", "--port", str(port)] if way == "flags" else []
    told = {} if flags else {"GRADIO_SERVER_NAME": "127.0.0.1", "GRADIO_SERVER_PORT": str(port)}
    environment = {**os.environ, **told, "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "app.py", *flags]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert any(f"http://127.0.0.1:{port}" in line for line in process.stdout)
            assert "LISA Lab" in httpx.get(f"http://127.0.0.1:{port}/config", timeout=30).text
        finally:
            process.kill()


def test_an_unknown_flag_is_refused():
    command = [sys.executable, "app.py", "--prot", "1"]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert process.returncode == 2 and "--prot" in process.stderr
