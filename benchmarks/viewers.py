"""How much viewers of one training run slow it down.

python benchmarks/viewers.py --viewers 10

Serves the app, starts a run of the embedded family, and compares its pace with and without viewers, in turns. A viewer
asks as often as a page on the Train tab does, over HTTP; that it runs on the same machine counts against the figure.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

TURNS = 4


def main() -> None:
    """Print the seconds per step of every turn and the slowdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--viewers", type=int, default=10, help="pages that look at the run (default: 10)")
    parser.add_argument("--seconds", type=float, default=30, help="length of a turn (default: 30 s)")
    arguments = parser.parse_args()
    from app.build import build, launch
    from lisa.lab import Lab
    from lisa.settings import TrainSettings

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "checkpoints").symlink_to(ROOT / "checkpoints")
        lab = Lab(Path(folder))
        page = build(lab)
        _, url, _ = launch(page, server_name="127.0.0.1", prevent_thread_lock=True, quiet=True)
        settings = TrainSettings(steps=100_000, samples=256, validate_every=0, preview_every=0, checkpoint_every=0)
        run = lab.training.start(settings, "watched")
        try:
            wait_for_steps(lab, run, 5)
            slow = compare(lab, run, lambda on: viewers(url, page, run, arguments.viewers, on), arguments.seconds)
        finally:
            lab.training.ask(run, "stop")
            page.close()
            while lab.training.watch(run).progress.alive:
                time.sleep(0.2)
    print(f"{arguments.viewers} viewers slow the run by {slow:+.1%} (median of {TURNS} turns)")


def wait_for_steps(lab: Any, run: str, steps: int) -> None:
    """Wait until a run has taken some steps."""
    while lab.training.watch(run).progress.step < steps:
        if not lab.training.watch(run).progress.alive:
            raise SystemExit(lab.training.watch(run).progress.reason)
        time.sleep(0.2)


def compare(lab: Any, run: str, look: Any, seconds: float) -> float:
    """Pace without and with viewers in turns; the median share by which they slow a step."""
    shares = []
    for _ in range(TURNS):
        alone = pace(lab, run, seconds)
        on = threading.Event()
        threads = look(on)
        watched = pace(lab, run, seconds)
        on.set()
        for thread in threads:
            thread.join()
        print(f"alone {alone:.3f} s a step, watched {watched:.3f} s")
        shares.append(watched / alone - 1)
    return statistics.median(shares)


def pace(lab: Any, run: str, seconds: float) -> float:
    """Median seconds of the steps that a run takes in a while, from its own log."""
    before = lab.training.watch(run).progress.step
    time.sleep(seconds)
    with (lab.root / run / "events.jsonl").open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return statistics.median(row["seconds"] for row in rows if row["kind"] == "train" and row["step"] > before + 1)


def viewers(url: str, page: Any, run: str, count: int, off: threading.Event) -> list[threading.Thread]:
    """Start threads that ask what the timer of the Train tab asks, until the event is set."""
    from app.tabs._train_page import EVERY

    ticks = [d for d in page.config["dependencies"] if any(event == "tick" for _, event in d["targets"])]
    number = next(d["id"] for d in ticks if len(d["inputs"]) == 3)

    def look() -> None:
        session = uuid4().hex  # a page keeps its own; a new one would cost the server a state of the whole page
        with httpx.Client(base_url=f"{url}gradio_api/", timeout=60) as client:
            while not off.wait(EVERY):
                ask(client, session, number, [run, 0.9, False])

    threads = [threading.Thread(target=look, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads


def ask(client: httpx.Client, session: str, number: int, data: list[Any]) -> None:
    """Call one event as the page does and read its answer to the end."""
    client.post("queue/join", json={"data": data, "fn_index": number, "session_hash": session}).raise_for_status()
    with client.stream("GET", "queue/data", params={"session_hash": session}) as answer:
        for line in answer.iter_lines():
            if "process_completed" in line:
                if '"success":true' not in line.replace(" ", ""):
                    raise RuntimeError(line[:300])
                return


if __name__ == "__main__":
    main()
