"""The first minutes of a newcomer, timed: clone, install, app, first pair, first UMAP, first fine-tune.

python benchmarks/first_minutes.py
python benchmarks/first_minutes.py --small --python .venv/bin/python     # does it work? its times mean nothing

Clones the last commit of this repository into a temporary folder, makes a virtual environment there, installs
requirements.txt into it, starts app.py with an empty cache, and asks the page's public endpoints for what a newcomer
would click. Prints a table in Markdown.
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
FULL = {"study": {}, "training": {"steps": 200, "samples": 512}}
SMALL = {
    "study": {"scenes": 4, "noises": 1, "timesteps": "500"},
    "training": {"steps": 4, "samples": 32, "batch_size": 2, "validation_samples": 4, "previews": 1},
}
CLICKS = """
import json, sys, time
from gradio_client import Client, handle_file

url, condition, sizes = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
client = Client(url, verbose=False)
def timed(ask):
    begin = time.perf_counter()
    what = ask()
    print(json.dumps([what, time.perf_counter() - begin]), flush=True)
def pair(what):
    client.predict(condition=handle_file(condition), random_seed=False, api_name="/generate")
    return what
def study():
    seen = client.predict(settings=sizes["study"], api_name="/features")
    return f"first UMAP, {len(seen['factors']['scene'])} rows of each network, with its table of measures"
def train():
    asked = sizes["training"]
    run = client.predict(settings=asked, name="first", api_name="/train")
    while client.predict(run=run, api_name="/train_status")["alive"]:
        time.sleep(0.5)
    status = client.predict(run=run, api_name="/train_status")
    assert status["status"] == "finished", status
    return f"first fine-tune, {asked['steps']} steps of both networks on {asked['samples']} scenes"
timed(lambda: pair("first pair of 128 x 128 images, models loaded"))
timed(lambda: pair("another pair"))
timed(study)
timed(train)
"""


def main() -> None:
    """Print a line for each of the first things that a newcomer does."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", type=Path, help="an environment's python, to leave the installation out")
    parser.add_argument("--small", action="store_true", help="few scenes and steps, to see whether all of it works")
    arguments = parser.parse_args()
    print("| step | time |\n| --- | --- |", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        home = clone(Path(folder))
        python = arguments.python.absolute() if arguments.python else install(home)
        os.environ["LISA_CACHE"] = str(Path(folder) / "cache")
        with server(python, home) as url:
            clicks(python, url, SMALL if arguments.small else FULL)


def clone(folder: Path) -> Path:
    """Clone the last commit from this disk; where it lies."""
    begin, home = time.perf_counter(), folder / "lisa-lab"
    subprocess.run(["git", "clone", "-q", "--depth", "1", ROOT.as_uri(), home], check=True)
    size = sum(path.stat().st_size for path in home.rglob("*") if path.is_file())
    tell(f"git clone --depth 1 from the same disk, {size / 1e6:.0f} MB", time.perf_counter() - begin)
    return home


def install(home: Path) -> Path:
    """Make an environment and install what the app needs; its python."""
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-m", "venv", home / ".venv"], check=True)
    python = home / ".venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", "-r", home / "requirements.txt"], check=True)
    tell("pip install -r requirements.txt", time.perf_counter() - begin)
    return python


@contextmanager
def server(python: Path, home: Path):
    """Start the app, wait until its page is there, and stop it at the end; its address."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    begin = time.perf_counter()
    app = subprocess.Popen([python, "app.py", "--port", str(port)], cwd=home, stdout=subprocess.DEVNULL)
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


def clicks(python: Path, url: str, sizes: dict[str, dict]) -> None:
    """Ask for what a newcomer would click, with another process's client."""
    command = [python, "-c", CLICKS, url, ROOT / "assets" / "example" / "condition.png", json.dumps(sizes)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            tell(*json.loads(line))
    if process.returncode:
        raise SystemExit(process.returncode)


def tell(what: str, seconds: float) -> None:
    """Print one line of the table."""
    print(f"| {what} | {seconds:.1f} s |" if seconds < 120 else f"| {what} | {seconds / 60:.1f} min |", flush=True)


if __name__ == "__main__":
    main()
