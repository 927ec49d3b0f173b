"""Following runs: what is read incrementally, thinned, judged alive or dead, and when one arm matched another."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import pytest

from lisa import follow
from lisa.__main__ import build_parser
from lisa.errors import LisaError
from lisa.options import to_dict
from lisa.report import Standing, noted
from lisa.runs import PREPARATION_NOTE, RunFolder
from lisa.settings import TrainSettings, from_arguments


@pytest.fixture
def run(tmp_path):
    return RunFolder.create(tmp_path / "first", to_dict(TrainSettings(steps=100)))


def log(run, step, arm="lisa", kind="train", **values):
    run.append_event({"kind": kind, "step": step, "arm": arm, **values})


def test_events_are_read_as_they_come_and_again_when_cut(run):
    log(run, 1, control=0.5, seconds=2.0)
    assert follow.curves(run)["train", "lisa", "control"][1].tolist() == [0.5]
    with (run.path / "events.jsonl").open("a") as file:
        file.write('{"kind": "train", "step": 2, "arm": "li')
    assert follow.progress(run).step == 1
    with (run.path / "events.jsonl").open("a") as file:
        file.write('sa", "control": 0.4, "seconds": 4.0}\n')
    assert follow.progress(run).step == 2 and follow.progress(run).seconds_per_step == 3.0
    assert follow.progress(run).remaining == 98 * 3.0
    run.truncate_events(1)
    assert follow.curves(run)["train", "lisa", "control"][0].tolist() == [1]


def test_long_curves_are_thinned_to_means():
    steps, values = follow.thinned(np.arange(20_000), np.arange(20_000.0) % 2, 500)
    assert len(steps) == 500 and np.allclose(values, 0.5) and steps[0] == pytest.approx(19.5)
    same = follow.thinned(np.arange(5), np.arange(5), 500)
    assert same[0].tolist() == [0, 1, 2, 3, 4]


def test_status_is_what_the_folder_and_its_lock_say(run):
    assert follow.progress(run).status == "starting" and follow.progress(run).alive
    with run.lock(), noted(run.path / PREPARATION_NOTE) as tell:
        run.write_state({"status": "preparing", "time": time.time()})
        tell("encoding images", 16, 64)
        assert follow.progress(run).doing == Standing("encoding images", 16, 64)
    assert follow.progress(run).doing is None
    run.write_state({"status": "running", "time": time.time()})
    with run.lock():
        assert follow.progress(run).status == "running"
    (run.path / follow.LOG).write_text("bar\rbar\nout of memory\n")
    dead = follow.progress(run)
    assert dead.status == "died" and not dead.alive and "out of memory" in dead.reason
    run.write_state({"status": "starting", "time": time.time() - 3600})
    assert follow.progress(run).status == "died"
    run.write_state({"status": "failed", "reason": "no scenes"})
    assert follow.progress(run).reason == "no scenes"


def test_the_remaining_time_counts_validations_previews_and_checkpoints(tmp_path):
    """Ten steps of a second each, and after every fifth nine seconds of something else."""
    every = {"validate_every": 5, "preview_every": 0, "checkpoint_every": 5}
    run = RunFolder.create(tmp_path / "slow", to_dict(TrainSettings(steps=100, **every)))
    for step in range(1, 61):
        log(run, step, seconds=1.0, elapsed=10.0 if step % 5 == 1 and step > 1 else 1.0)
    assert follow.progress(run).seconds_per_step == pytest.approx(2.8)
    assert follow.progress(run).remaining == pytest.approx(40 * 2.8)
    rare = RunFolder.create(tmp_path / "rare", to_dict(TrainSettings(steps=1000, validate_every=200)))
    for step in range(1, 401):
        log(rare, step, seconds=1.0, elapsed=201.0 if step % 200 == 1 and step > 1 else 1.0)
    assert follow.progress(rare).seconds_per_step == pytest.approx(2.0)  # a whole round, not the last 50 steps


def test_what_a_death_leaves_is_told(run):
    run.write_state({"status": "running"})
    (run.path / follow.LOG).write_text("making side networks\n\r  0%|          | 1/300 [00:01<05:00,  1.2step/s]")
    dead = follow.progress(run)
    assert "making side networks" in dead.reason and "|" not in dead.reason
    assert "starts again from step 0" in dead.reason and dead.fruitless
    with run.commit_checkpoint(2) as folder:
        (folder / "weights").write_text("x")
    dead = follow.progress(run)
    assert "goes on from its checkpoint at step 2" in dead.reason and not dead.fruitless


def test_the_command_gives_the_settings_back(run):
    settings = TrainSettings(
        condition="depth", steps=7, arms="baseline,lisa:weight=0.3:taps=down_1+mid", share=False, learning_rate=1e-3
    )
    parts = follow.command(settings, run.path)
    assert parts[:3] == ["-m", "lisa", "train"]
    parsed = build_parser().parse_args(parts[2:])
    assert from_arguments(TrainSettings, parsed) == settings and parsed.folder == run.path


def validate(run, baseline, lisa, error=0.01):
    for i, (theirs, own) in enumerate(zip(baseline, lisa, strict=True)):
        log(run, 10 * i, "baseline", "validation", control=theirs)
        log(run, 10 * i, "lisa", "validation", control=own, difference_error=error, difference_samples=64)


def test_when_one_arm_reached_the_others_level(run):
    validate(run, [1.0, 0.8, 0.6], [1.0, 0.5, 0.3], error=0.05)
    match = follow.steps_to_match(run, "baseline", "lisa")
    assert match.level == 0.6 and match.whole == 20
    assert match.step == pytest.approx(8.0)  # from 1.0 to 0.5 in ten steps
    margin = 1.99834 * 0.05  # Student's quantile of 64 samples
    assert match.early == pytest.approx(10 * (0.4 - margin) / 0.5, abs=1e-3)
    assert match.late == pytest.approx(10 * (0.4 + margin) / 0.5, abs=1e-3)


def test_an_arm_that_never_gets_there_is_said_to(run):
    validate(run, [1.0, 0.8, 0.6], [1.0, 0.9, 0.7])
    match = follow.steps_to_match(run, "baseline", "lisa")
    assert match.step is None and match.late is None
    assert follow.steps_to_match(run, "baseline", "other") is None


def test_requests_are_taken_once_and_unknown_ones_refused(run):
    run.ask("save")
    run.ask("stop")
    assert run.take_requests() == {"save", "stop"} and run.take_requests() == set()
    with pytest.raises(LisaError, match="pause"):
        run.ask("pause")


def test_a_running_folder_is_neither_started_nor_deleted(run, tmp_path):
    with run.lock(), noted(run.path / PREPARATION_NOTE) as tell:
        run.write_state({"status": "preparing", "time": time.time()})
        tell("encoding images", 16, 64)
        assert follow.progress(run).doing == Standing("encoding images", 16, 64)
    assert follow.progress(run).doing is None
    run.write_state({"status": "running", "time": time.time()})
    with run.lock():
        with pytest.raises(LisaError, match="running already"):
            follow.start(TrainSettings(steps=100), run.path, tmp_path)
        with pytest.raises(LisaError, match="stop it before"):
            follow.delete(run)
    follow.delete(run)
    assert not run.path.exists()


def test_a_process_that_takes_long_to_load_is_starting_and_a_dead_one_is_not(run):
    run.write_state({"status": "starting", "time": time.time() - 3600})
    slow = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    (run.path / follow.PID).write_text(str(slow.pid))
    assert follow.progress(run).status == "starting"
    slow.kill()
    slow.wait()
    assert follow.progress(run).status == "died"
