"""The desk: names, what may be touched, and a real process that is started, asked and resumed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time

import pytest
from PIL import Image

from lisa import plan
from lisa.errors import LisaError
from lisa.files import write_json
from lisa.options import to_dict
from lisa.report import Standing, noted
from lisa.rundesk import RunDesk
from lisa.runs import EVALUATION_NOTE, RunFolder
from lisa.settings import TrainSettings
from tests import tiny


@pytest.fixture
def desk(tmp_path):
    return RunDesk(tmp_path)


@pytest.mark.parametrize("name", ["", "../up", "A", ".hidden", "a/b", "x" * 65])
def test_names_stay_in_their_folder(desk, name):
    with pytest.raises(LisaError, match="must be 1 to 64"):
        desk.start(TrainSettings(), name)


def test_what_came_with_the_lab_is_only_read(desk, tmp_path):
    RunFolder.create(tmp_path / "checkpoints" / "scenes-unet" / "canny", to_dict(TrainSettings()))
    run = "checkpoints/scenes-unet/canny"
    assert [(view.id, view.own) for view in desk.runs()] == [(run, False)]
    assert desk.watch(run).settings == TrainSettings()
    for act in (desk.resume, desk.delete, lambda r: desk.ask(r, "stop")):
        with pytest.raises(LisaError, match="came with the lab"):
            act(run)
    with pytest.raises(LisaError, match="no run 'runs/none'"):
        desk.watch("runs/none")


def test_a_measurement_is_read_from_its_folder(desk, tmp_path):
    run = RunFolder.create(tmp_path / "runs" / "first", to_dict(TrainSettings()))
    assert desk.evaluation("runs/first").rows == () and not desk.evaluation("runs/first").running
    with pytest.raises(LisaError, match="no checkpoint yet"):
        desk.measure("runs/first", 8, 2)
    with pytest.raises(LisaError, match="1 scenes and 2"):
        desk.measure("runs/first", 1, 2)
    (run.path / "evaluation.txt").write_text("loading\nthere is no judge\n")
    os.utime(run.path / "evaluation.txt", (0, 0))
    assert desk.evaluation("runs/first").word == "there is no judge"
    with run.lock(name="evaluation.lock"):
        assert desk.evaluation("runs/first").running and not run.is_running()
        assert desk.evaluation("runs/first").doing is None
        with noted(run.path / EVALUATION_NOTE) as tell:
            tell("drawing and measuring", 0, 8)
            assert desk.evaluation("runs/first").doing == Standing("drawing and measuring", 0, 8)
    rows = [{"step": 2, "arm": "baseline", "loss": 0.5, "fidelity": 0.1}]
    write_json(run.path / "evaluation.json", {"scenes": 8, "sampling_steps": 2, "rows": rows})
    seen = desk.evaluation("runs/first")
    assert seen.rows == tuple(rows) and seen.scenes == 8 and not seen.running


def wait_for(desk, run, done, seconds=180):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        progress = desk.watch(run).progress
        if done(progress):
            return progress
        time.sleep(0.2)
    raise AssertionError(f"{progress} after {seconds} s: {(desk.root / run / 'log.txt').read_text()[-2000:]}")


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Twelve described pictures, and a cache of their own."""
    folder = tmp_path / "data"
    folder.mkdir()
    rows = [{"file_name": f"{i}.png", "text": f"picture {i}"} for i in range(12)]
    for i in range(12):
        Image.new("RGB", (64, 64), (20 * i, 90, 120)).save(folder / f"{i}.png")
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    monkeypatch.setenv("LISA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return folder


def test_a_zip_is_unpacked_and_counted(desk, data, tmp_path):
    path = shutil.make_archive(str(tmp_path / "set"), "zip", data)
    folder = desk.add_data(path)
    report = desk.count_data(folder, "canny")
    assert (report.rows, report.train_rows, report.held_out_rows, report.captioned) == (12, 11, 1, 12)
    (tmp_path / "bad.zip").write_bytes(b"PK")
    with pytest.raises(LisaError, match="cannot be unpacked"):
        desk.add_data(str(tmp_path / "bad.zip"))
    with pytest.raises(LisaError, match="neither"):
        desk.add_data(str(data))


def test_a_plan_is_made_by_a_process_of_its_own(desk, data, tmp_path):
    """Progress first, then the data, then the estimate; no run is made."""
    settings = TrainSettings(source=str(tiny.folder("scenes-unet")), data=str(data), batch_size=1, device="cpu")
    plans = list(desk.plan(settings))
    assert plans[0].words == "starting" and plans[0].data is None
    assert any(each.data and not each.estimate and each.words for each in plans)
    last = plans[-1]
    assert (last.words, last.failure) == ("", "") and last.data.rows == 12 and last.estimate.seconds > 0
    assert not (tmp_path / "runs").exists()


def test_a_plan_that_fails_says_why_and_keeps_the_report(desk, data):
    last = list(desk.plan(TrainSettings(source=str(data), data=str(data), device="cpu")))[-1]
    assert last.data.rows == 12 and last.estimate is None and not last.words
    assert last.failure.endswith(".") and not last.failure.startswith("error") and "\n" not in last.failure
    last = list(desk.plan(TrainSettings(data=str(data / "none.zip"), device="cpu")))[-1]
    assert last.data is None and "does not exist" in last.failure
    with pytest.raises(LisaError, match="steps is 0"):
        list(desk.plan(TrainSettings(steps=0)))


def test_a_plan_that_nobody_waits_for_ends_its_process(desk, data, monkeypatch):
    started, popen = [], subprocess.Popen

    def start(*args, **kwargs):
        started.append(popen(*args, **kwargs))
        return started[0]

    monkeypatch.setattr(subprocess, "Popen", start)
    plans = desk.plan(TrainSettings(source=str(tiny.folder("scenes-unet")), data=str(data), device="cpu"))
    next(plans)
    assert started[0].poll() is None
    plans.close()
    assert started[0].returncode not in (None, 0)  # ended, not finished


def test_a_process_that_the_system_ends_is_told(tmp_path):
    (tmp_path / "log.txt").write_text("measuring steps: 1 of 4\n")
    assert "signal 9" in plan._failure(-9, tmp_path / "log.txt")
    assert plan._failure(1, tmp_path / "log.txt") == "The estimate ended early: measuring steps: 1 of 4."


def test_a_run_is_a_process_of_its_own(desk, data, tmp_path):
    """Started, asked for samples and a checkpoint, stopped, and resumed to its end."""
    settings = TrainSettings(
        source=str(tiny.folder("scenes-unet")), data=str(data), steps=100_000, batch_size=1, validate_every=0,
        validation_samples=1, checkpoint_every=0, preview_every=0, previews=1, device="cpu",
    )  # fmt: skip
    run = desk.start(settings, "first")
    assert desk.watch(run).progress.alive and desk.free_name("first") == "first-1"
    wait_for(desk, run, lambda p: p.step >= 2)
    assert desk.active() == run
    with pytest.raises(LisaError, match="already"):
        desk.start(settings, "first")
    with pytest.raises(LisaError, match="running already"):
        desk.resume(run)
    desk.ask(run, "sample")
    desk.ask(run, "save")
    kept = wait_for(desk, run, lambda p: p.samples and p.checkpoints)
    assert set(desk.samples(run, kept.samples[0])[0]) == {"condition", "baseline", "lisa"}
    desk.ask(run, "stop")
    # The process says that it stopped before it lets go of its folder.
    stopped = wait_for(desk, run, lambda p: not p.alive and not desk.active())
    assert stopped.status == "stopped" and stopped.checkpoints[-1] == stopped.step
    with pytest.raises(LisaError, match="is not running"):
        desk.ask(run, "save")
    folder = RunFolder(tmp_path / run)
    (folder.path / "settings.json").write_text(json.dumps({**folder.settings(), "steps": stopped.step + 2}))
    desk.resume(run)
    assert wait_for(desk, run, lambda p: p.status == "finished").step == stopped.step + 2
    desk.delete(run)
    assert desk.runs() == ()


def test_runs_that_came_with_the_lab_start_with_the_default_family_and_name_theirs(tmp_path):
    for family in ("scenes-dit", "scenes-unet", "scenes-video"):
        RunFolder.create(tmp_path / "checkpoints" / family / "canny", to_dict(TrainSettings(family=family)))
    RunFolder.create(tmp_path / "runs" / "mine", to_dict(TrainSettings(family="scenes-dit")))
    assert [view.title for view in RunDesk(tmp_path).runs()] == [
        "mine: canny, baseline, lisa", "scenes-unet/canny: canny, baseline, lisa",
        "scenes-dit/canny: canny, baseline, lisa", "scenes-video/canny: canny, baseline, lisa",
    ]  # fmt: skip
