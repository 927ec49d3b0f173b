from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys

import pytest

from lisa.errors import LisaError
from lisa.runs import RunFolder, write_atomically, write_json

SAVE_FOREVER = """
import sys
from lisa.runs import RunFolder
run = RunFolder(sys.argv[1])
print("ready", flush=True)
for step in range(1, 100000):
    with run.commit_checkpoint(step) as folder:
        (folder / "lisa").mkdir()
        for part in range(4):
            (folder / "lisa" / f"{part}.bin").write_bytes(bytes([step % 256]) * 300_000)
"""

HOLD_LOCK = """
import sys
from lisa.runs import RunFolder
with RunFolder(sys.argv[1]).lock():
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def run(tmp_path):
    return RunFolder.create(tmp_path / "run", {"steps": 3})


def start(script, run):
    command = [sys.executable, "-c", script, str(run.path)]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    child.stdout.readline()
    return child


def save(run, step, content=b"weights"):
    with run.commit_checkpoint(step) as folder:
        (folder / "lisa").mkdir()
        (folder / "lisa" / "side.bin").write_bytes(content)


def test_a_run_is_made_once_and_opened_by_its_folder(run, tmp_path):
    assert RunFolder.open(run.path).settings() == {"steps": 3}
    with pytest.raises(LisaError, match="already holds a run"):
        RunFolder.create(run.path, {})
    with pytest.raises(LisaError, match="holds no run"):
        RunFolder.open(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(LisaError, match="cannot be made"):
        RunFolder.create(tmp_path / "file" / "run", {})


def test_an_atomic_write_replaces_the_whole_and_leaves_no_temporary_file(tmp_path):
    path = tmp_path / "a.txt"
    write_atomically(path, b"a much longer first content")
    write_atomically(path, b"second")
    assert path.read_bytes() == b"second"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_failed_write_keeps_the_old_content(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 1}
    assert os.listdir(tmp_path) == ["a.json"]


@pytest.mark.parametrize("value", [math.nan, math.inf, object()])
def test_json_refuses_what_it_cannot_hold(tmp_path, value):
    with pytest.raises(LisaError, match="cannot be written as JSON"):
        write_json(tmp_path / "a.json", {"a": value})
    assert os.listdir(tmp_path) == []


def test_state_comes_back_and_a_damaged_one_is_named(run):
    assert run.read_state() == {}
    run.write_state({"step": 3})
    assert run.read_state() == {"step": 3}
    (run.path / "state.json").write_text("{")
    with pytest.raises(LisaError, match=r"state\.json is not valid JSON"):
        run.read_state()


def test_events_keep_the_last_row_of_a_step_arm_and_kind(run):
    run.append_event({"step": 1, "arm": "lisa", "kind": "train", "loss": 3.0})
    run.append_event({"step": 1, "arm": "baseline", "kind": "train", "loss": 2.0})
    run.append_event({"step": 1, "arm": "lisa", "kind": "train", "loss": 1.0, "ratio": math.nan})
    run.append_event({"kind": "message", "text": "a"})
    run.append_event({"kind": "message", "text": "a"})
    rows = run.events()
    assert [row.get("loss") for row in rows] == [2.0, 1.0, None, None]
    assert rows[1]["ratio"] is None


def test_a_half_written_last_line_is_skipped_and_then_replaced(run):
    run.append_event({"step": 1, "loss": 1.0})
    with open(run.path / "events.jsonl", "a") as file:
        file.write('{"step": 2, "lo')
    assert [row["step"] for row in run.events()] == [1]
    again = RunFolder(run.path)
    again.append_event({"step": 2, "loss": 2.0})
    assert [row["step"] for row in again.events()] == [1, 2]


def test_a_damaged_line_in_the_middle_is_named(run):
    (run.path / "events.jsonl").write_text('{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(LisaError, match="Line 2 of"):
        run.events()


def test_truncation_forgets_what_came_after_the_step(run):
    for step in (1, 2, 3, 4):
        run.append_event({"step": step, "loss": float(step)})
    run.append_event({"kind": "message"})
    run.truncate_events(2)
    assert run.events() == [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 2.0}, {"kind": "message"}]


def test_the_lock_is_refused_twice_and_freed_afterwards(run):
    assert not run.is_running()
    with run.lock():
        assert run.is_running()
        for _ in range(2):
            with pytest.raises(LisaError, match="already running"), RunFolder(run.path).lock(wait=0.1):
                pass
        assert run.is_running()
    assert not run.is_running()
    with run.lock():
        pass


def test_the_lock_dies_with_its_process(run):
    child = start(HOLD_LOCK, run)
    try:
        assert run.is_running()
        with pytest.raises(LisaError, match="already running"), run.lock(wait=0.1):
            pass
    finally:
        child.kill()
        child.wait()
    assert not run.is_running()
    with run.lock():
        pass


def test_a_checkpoint_has_its_manifest_and_is_found(run):
    save(run, 200)
    save(run, 20)
    save(run, 1_000_000)
    assert run.checkpoints() == [20, 200, 1_000_000]
    assert run.checkpoint_dir(200).name == "step-000200"
    assert run.verify_checkpoint(200) == run.checkpoint_dir(200)
    manifest = json.loads((run.checkpoint_dir(20) / "manifest.json").read_text())
    assert manifest["lisa/side.bin"]["bytes"] == 7


def test_a_damaged_checkpoint_does_not_count(run):
    save(run, 1)
    save(run, 2)
    save(run, 3)
    (run.checkpoint_dir(1) / "lisa" / "side.bin").write_bytes(b"weight")
    (run.checkpoint_dir(2) / "manifest.json").write_text("[]")
    (run.checkpoint_dir(3) / "lisa" / "side.bin").write_bytes(b"WEIGHTS")
    assert run.checkpoints() == [3]
    with pytest.raises(LisaError, match="no complete checkpoint at step 1; complete ones: 3"):
        run.verify_checkpoint(1)
    with pytest.raises(LisaError, match=r"side\.bin is damaged"):
        run.verify_checkpoint(3)
    save(run, 1)
    assert run.checkpoints() == [1, 3]


def test_an_error_while_saving_leaves_nothing(run):
    def fail():
        with run.commit_checkpoint(5) as folder:
            (folder / "half.bin").write_bytes(b"x")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert os.listdir(run.path / "checkpoints") == []


def test_a_complete_checkpoint_is_not_overwritten(run):
    save(run, 5)
    with pytest.raises(LisaError, match="already holds a checkpoint"):
        save(run, 5, b"others!")
    assert (run.checkpoint_dir(5) / "lisa" / "side.bin").read_bytes() == b"weights"


@pytest.mark.parametrize("delay", [0.02, 0.05, 0.09, 0.14])
def test_kill_during_a_save_leaves_no_valid_half_checkpoint(run, delay):
    child = start(SAVE_FOREVER, run)
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(delay)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    steps = run.checkpoints()
    assert steps == list(range(1, len(steps) + 1))
    for step in steps:
        folder = run.verify_checkpoint(step)
        assert sorted(path.stat().st_size for path in (folder / "lisa").iterdir()) == [300_000] * 4
    run.sweep()
    names = os.listdir(run.path / "checkpoints") if steps else []
    assert sorted(names) == [f"step-{step:06d}" for step in steps]


def test_sweep_removes_only_left_overs(run):
    save(run, 1)
    (run.path / "checkpoints" / "step-000002.tmp").mkdir()
    (run.path / ".tmp-state.json-0123").write_text("{")
    (run.samples / ".tmp-step-000002-0123").mkdir()
    (run.samples / ".tmp-step-000002-0123" / "00-lisa.png").write_text("x")
    run.sweep()
    assert os.listdir(run.samples) == []
    assert run.checkpoints() == [1]
    assert not (run.path / ".tmp-state.json-0123").exists()
    assert os.listdir(run.path / "checkpoints") == ["step-000001"]
