"""The first minutes of a newcomer, timed: install, app, first pair, first UMAP, first fine-tune.

python benchmarks/first_minutes.py

Makes a virtual environment in a temporary folder, installs requirements.txt into it, starts app.py from it with an
empty cache, and asks the page's public endpoints for what a newcomer would click.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CLICKS = """
import json, sys, time
from gradio_client import Client, handle_file
from pathlib import Path

url, condition, run = sys.argv[1:4]
client = Client(url, verbose=False)
def timed(what, ask):
    begin = time.perf_counter()
    result = ask()
    print(json.dumps([what, time.perf_counter() - begin]), flush=True)
    return result
def pair():
    return client.predict(condition=handle_file(condition), random_seed=False, api_name="/generate")
timed("first pair of 128 x 128 images, models loaded", pair)
timed("another pair", pair)
timed("first UMAP, 384 rows of each network", lambda: client.predict(settings={}, api_name="/features"))
def train():
    name = client.predict(settings={"steps": 200, "samples": 512}, name=run, api_name="/train")
    while client.predict(run=name, api_name="/train_status")["alive"]:
        time.sleep(0.5)
    status = client.predict(run=name, api_name="/train_status")
    assert status["status"] == "finished", status
timed("first fine-tune, 200 steps of both networks on 512 scenes", train)
"""


def main() -> None:
    """Print a line for each of the first things that a newcomer does."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", type=Path, help="an environment's python, to leave the installation out")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        python = arguments.python or install(Path(folder))
        os.environ["LISA_CACHE"] = str(Path(folder) / "cache")
        with server(python) as url:
            clicks(python, url)


def install(folder: Path) -> Path:
    """Make an environment and install what the app needs; its python."""
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    python = folder / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", "-r", ROOT / "requirements.txt"], check=True)
    tell("pip install -r requirements.txt", time.perf_counter() - begin)
    return python


@contextmanager
def server(python: Path):
    """Start the app, wait until its page is there, and stop it at the end; its address."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    begin = time.perf_counter()
    app = subprocess.Popen([python, ROOT / "app.py", "--port", str(port)], cwd=ROOT, stdout=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}/"
    try:
        while not answers(url):
            if app.poll() is not None:
                raise SystemExit("app.py ended before its page was there.")
            time.sleep(0.1)
        tell("python app.py, until the page answers", time.perf_counter() - begin)
        yield url
    finally:
        app.terminate()
        app.wait()


def answers(url: str) -> bool:
    """Tell whether the page is there."""
    try:
        with urllib.request.urlopen(f"{url}config", timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


def clicks(python: Path, url: str) -> None:
    """Ask for what a newcomer would click, with another process's client."""
    name = f"first-minutes-{os.getpid()}"
    command = [python, "-c", CLICKS, url, ROOT / "assets" / "example" / "condition.png", name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            tell(*json.loads(line))
    subprocess.run([python, "-c", "import shutil, sys; shutil.rmtree(sys.argv[1])", ROOT / "runs" / name], check=False)
    if process.returncode:
        raise SystemExit(process.returncode)


def tell(what: str, seconds: float) -> None:
    """Print one line of the table."""
    print(f"| {what} | {seconds:.1f} s |" if seconds < 120 else f"| {what} | {seconds / 60:.1f} min |", flush=True)


if __name__ == "__main__":
    main()
