"""Measurements from outside: whether one runs, why the last came to no end, and how it is stopped."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from lisa import follow, measuring, spawn
from lisa.errors import LisaError
from lisa.files import read_json, write_json
from lisa.options import to_dict
from lisa.runs import EVALUATION_LOCK, RunFolder
from lisa.settings import TrainSettings

ROWS = [{"step": 2, "arm": "baseline", "loss": 0.5, "fidelity": 0.1}]


@pytest.fixture
def run(tmp_path):
    return RunFolder.create(tmp_path / "first", to_dict(TrainSettings()))


@pytest.fixture
def loading(run):
    """A process that was started to measure the run and does not own it yet."""
    measuring._write(run, "starting")
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    spawn.note_process(run.path / measuring.PID, process.pid)
    yield process
    process.kill()
    process.wait()


def measured_before(run):
    write_json(run.path / measuring.RESULTS, {"scenes": 8, "sampling_steps": 2, "rows": ROWS})


def test_a_second_measurement_runs_while_it_loads_and_its_failure_stands_beside_the_old_rows(run, loading):
    measured_before(run)
    assert measuring.evaluation(run).running
    with pytest.raises(LisaError, match="measured already"):
        measuring.start(run, 8, 2, run.path)
    (run.path / measuring.LOG).write_text("loading networks\nerror: there is no judge\n 50%|#####     | 4/8 [00:01]\n")
    loading.kill()
    loading.wait()
    seen = measuring.evaluation(run)
    assert not seen.running and seen.word == "there is no judge" and seen.rows == tuple(ROWS)


def test_how_a_measurement_ended_is_told(run):
    with measuring.owned(run):
        assert measuring.evaluation(run).running
    assert measuring.evaluation(run).word == ""
    with pytest.raises(LisaError), measuring.owned(run):
        raise LisaError("The judge is damaged.")
    assert measuring.evaluation(run).word == "The judge is damaged."
    with pytest.raises(KeyboardInterrupt), measuring.owned(run):
        raise KeyboardInterrupt
    assert "was stopped" in measuring.evaluation(run).word


def test_a_measurement_that_loads_is_stopped(run, loading):
    measuring.stop(run)
    assert loading.wait(10) != 0
    seen = measuring.evaluation(run)
    assert not seen.running and "was stopped" in seen.word
    with pytest.raises(LisaError, match="nothing to stop"):
        measuring.stop(run)


def test_a_measurement_that_works_keeps_its_rows_when_it_is_stopped(run):
    """A real process owns the run, is told to stop by SIGTERM, and lets go."""
    code = (
        "import sys, time\nfrom lisa import measuring\nfrom lisa.files import write_json\n"
        "from lisa.runs import RunFolder\n"
        "run = RunFolder(sys.argv[1])\n"
        f"with measuring.owned(run):\n    write_json(run.path / measuring.RESULTS, {{'rows': {ROWS}}})\n"
        "    time.sleep(600)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(run.path)], stderr=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while not measuring.evaluation(run).rows and time.monotonic() < end:
        time.sleep(0.05)
    measuring.stop(run)
    process.wait(30)
    seen = measuring.evaluation(run)
    assert seen.rows == tuple(ROWS) and not seen.running and "was stopped" in seen.word
    assert read_json(run.path / measuring.STATE)["status"] == "stopped"


def test_a_run_that_is_measured_is_not_deleted(run, loading):
    run.write_state({"status": "finished"})
    with pytest.raises(LisaError, match="being measured"):
        follow.delete(run)
    loading.kill()
    loading.wait()
    with run.lock(name=EVALUATION_LOCK), pytest.raises(LisaError, match="being measured"):
        follow.delete(run)
    follow.delete(run)
    assert not run.path.exists()


def test_a_number_that_was_given_again_is_another_process(run, loading):
    note = run.path / measuring.PID
    assert spawn.living(note).pid == loading.pid
    write_json(note, {**read_json(note), "begun": read_json(note)["begun"] - 3600})
    assert spawn.living(note) is None and not measuring.is_running(run)


def test_last_words_are_no_progress_bar(tmp_path):
    log = tmp_path / "log.txt"
    assert spawn.last_words(log) == ""
    log.write_text(
        "loading networks\n\r  0%|          | 1/300 [00:01<05:00]\rsteps:  50%|#  | 4/8 [00:01]\n12it [00:02, 5it/s]\n"
    )
    assert spawn.last_words(log) == "loading networks"
