"""Data of one's own in the Train tab: uploaded, counted, checked and estimated, in a real browser."""

from __future__ import annotations

import os
import re
import shutil
import time
from functools import partial

import pytest
from PIL import Image

from lisa import measuring, spawn
from lisa.data.check import check_data
from lisa.files import write_json
from lisa.options import to_dict
from lisa.plan import Estimate, Plan
from lisa.rundesk import RunDesk
from lisa.runs import RunFolder
from lisa.settings import TrainSettings

pytestmark = pytest.mark.browser


def expect(locator):
    from playwright.sync_api import expect

    return expect(locator, "")


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    """Twelve pictures, one of them cut off, as a zip."""
    monkeypatch.setenv("LISA_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(12):
        Image.new("RGB", (64, 64), (20 * i, 90, 120)).save(folder / f"{i:02d}.png")
    (folder / "03.png").write_bytes((folder / "03.png").read_bytes()[:60])
    return shutil.make_archive(str(folder), "zip", folder)


def test_an_uploaded_zip_is_counted_and_its_plan_is_shown(page, pictures, monkeypatch):
    def plan(desk, settings):
        yield Plan("starting")
        report = check_data(settings.data, settings.condition, settings.samples, 128)
        yield Plan("", report, estimate=Estimate("cpu", 2_000_000, 0.5, 1.0, 1.0, 125.0, 10**9, 10**6))

    monkeypatch.setattr(RunDesk, "plan", plan)
    page.get_by_role("tab", name="Train").click()
    with page.expect_file_chooser() as chooser:
        page.locator("#train-upload").click()
    chooser.value.set_files(pictures)
    expect(page.locator("#train-data")).to_contain_text("12 pictures, 11 to train on and 1 held out")
    data = page.get_by_role("textbox", name=re.compile("^Data"))
    expect(data).to_have_value(re.compile("/cache/data/[0-9a-f]{64}$"))
    page.get_by_role("button", name="What will run").click()
    words = page.locator("#train-plan")
    expect(words).to_contain_text("python -m lisa train")
    expect(words).to_contain_text("1 faulty")
    expect(words.locator("li")).to_contain_text("03.png")
    expect(words).to_contain_text("2 min 5 s")
    page.set_viewport_size({"width": 375, "height": 800})
    page.wait_for_function("document.documentElement.scrollWidth <= 375")  # the long command and folder wrap


def test_a_zip_without_pictures_is_refused_with_a_sentence(page, tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("no picture")
    page.get_by_role("tab", name="Train").click()
    with page.expect_file_chooser() as chooser:
        page.locator("#train-upload").click()
    chooser.value.set_files(shutil.make_archive(str(tmp_path / "notes"), "zip", tmp_path / "notes"))
    expect(page.locator(".toast-body")).to_contain_text("notes.zip holds no image")


@pytest.fixture
def runs(lab, tmp_path, monkeypatch):
    """A place of the lab for runs of one's own."""
    monkeypatch.setattr(lab, "root", tmp_path)
    return tmp_path


@pytest.fixture
def two_runs(runs):
    """One of three arms, and a younger one of a plain pair."""
    for name, arms in (("more", "baseline,lisa,wide:width=128"), ("plain", "baseline,lisa:weight=0.3:taps=mid")):
        RunFolder.create(runs / "runs" / name, to_dict(TrainSettings(arms=arms, share=False, steps=33)))
        os.utime(runs / "runs" / name / "settings.json", (len(arms), len(arms)))


@pytest.fixture
def starting(runs):
    """A run whose process is on its way."""
    run = RunFolder.create(runs / "runs" / "brief", to_dict(TrainSettings()))
    run.write_state({"status": "starting", "time": time.time() + 3600})
    return run


@pytest.fixture
def measured(runs):
    """A run that was measured before."""
    rows = [{"step": 2, "arm": "baseline", "measure": "edge F1", "loss": 0.5, "fidelity": 0.1}]
    run = RunFolder.create(runs / "runs" / "kept", to_dict(TrainSettings()))
    with run.commit_checkpoint(2) as folder:
        (folder / "baseline").mkdir()
        (folder / "baseline" / "weights").write_text("x")
    write_json(run.path / measuring.RESULTS, {"scenes": 8, "sampling_steps": 2, "rows": rows})
    return run


def wait_until(page, holds, seconds=60):
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        page.wait_for_timeout(100)
    assert holds()


def label(page, name):
    return page.get_by_label(name, exact=True).first


def test_a_second_press_replaces_a_plan_and_a_change_outdates_it(page, monkeypatch):
    asked, ended = [], []

    def plan(desk, settings):
        asked.append(settings)
        try:
            while asked[0] is settings:  # the first plan comes to no end
                yield Plan("counting for ever")
                time.sleep(0.2)
            yield Plan("", estimate=Estimate("cpu", 2_000_000, 0.5, 1.0, 1.0, 125.0, 10**9, 10**6))
        finally:
            ended.append(settings.steps)

    monkeypatch.setattr(RunDesk, "plan", plan)
    page.get_by_role("tab", name="Train").click()
    words, press = page.locator("#train-plan"), page.get_by_role("button", name="What will run")
    press.click()
    expect(words).to_contain_text("counting for ever")
    press.click()
    expect(words).to_contain_text("2 min 5 s")
    assert len(asked) == len(ended) == 2
    assert "Error" not in words.inner_text()
    assert "Out of date" not in words.inner_text()
    label(page, "Steps").fill("77")
    expect(words).to_contain_text("Out of date")
    press.click()
    expect(words).to_contain_text("--steps 77")
    expect(words).not_to_contain_text("Out of date")


@pytest.mark.parametrize("presses", [1, 2])
def test_a_change_ends_a_plan_that_is_being_made(page, presses, monkeypatch):
    begun, ended = [], []

    def plan(desk, settings):
        begun.append(settings)
        try:
            while True:
                yield Plan("counting for ever")
                time.sleep(0.2)
        finally:
            ended.append(settings)

    monkeypatch.setattr(RunDesk, "plan", plan)
    page.get_by_role("tab", name="Train").click()
    words = page.locator("#train-plan")
    for number in range(1, presses + 1):
        page.get_by_role("button", name="What will run").click()
        wait_until(page, lambda number=number: len(begun) == number)
    expect(words).to_contain_text("counting for ever")
    label(page, "Steps").fill("78")
    expect(words).to_contain_text("Out of date")
    expect(words).not_to_contain_text("counting for ever")
    wait_until(page, lambda: len(ended) == presses)
    page.wait_for_timeout(1500)  # what the plan sends at its end is in by now
    expect(words).to_contain_text("Out of date")
    assert "Error" not in words.inner_text() and "counting" not in words.inner_text()


def test_a_clone_is_typed_over_and_arms_put_lambda_out_of_reach(two_runs, page, monkeypatch):
    started = []
    monkeypatch.setattr(RunDesk, "start", lambda desk, settings, name: started.append(settings) or "runs/plain")
    page.get_by_role("tab", name="Train").click()
    expect(page.get_by_role("combobox", name="Run")).to_have_value("plain: canny, baseline, lisa")
    page.get_by_role("button", name="Clone settings").click()
    taps, weight = page.get_by_label("Taps").first, label(page, "Lambda")
    expect(taps).to_have_value("mid")
    expect(weight).to_have_value("0.3")
    weight.fill("500")
    page.locator("#start").click()
    expect(page.locator(".toast-body").last).to_contain_text("Lambda is 500")
    weight.fill("0.7")
    page.locator("#start").click()
    wait_until(page, lambda: started)
    assert started[0].arms == "baseline,lisa:weight=0.7:taps=mid" and not started[0].share and started[0].steps == 33
    page.get_by_role("combobox", name="Run").click()
    page.get_by_role("option", name="more: canny, baseline, lisa, wide").click()
    page.get_by_role("button", name="Clone settings").click()
    expect(page.get_by_role("textbox", name=re.compile("^Arms"))).to_have_value("baseline,lisa,wide:width=128")
    expect(page.locator("#train-rule")).to_contain_text("no effect")
    expect(taps).to_be_disabled()
    expect(weight).to_be_disabled()


def test_a_run_that_is_deleted_elsewhere_is_one_sentence(starting, page):
    page.get_by_role("tab", name="Train").click()
    expect(page.locator("#train-status")).to_contain_text("is starting")
    shutil.rmtree(starting.path)
    expect(page.locator("#train-status")).to_contain_text("The run runs/brief is no longer there: choose another.")
    page.wait_for_timeout(4000)
    assert page.locator(".toast-body").count() == 0


def test_a_second_measurement_shows_and_is_stopped(measured, page, monkeypatch):
    sleep = ["-c", "import time; time.sleep(600)"]
    monkeypatch.setattr(measuring.spawn, "spawn", partial(_instead, sleep, spawn.spawn))
    page.get_by_role("tab", name="Evaluate").click()
    status, stop = page.locator("#evaluate-status"), page.locator("#stop-measuring")
    expect(status).to_contain_text("Measured on 8 held-out scenes")
    expect(stop).to_be_hidden()
    page.locator("#measure").click()
    expect(status).to_contain_text("Measuring: starting. Below are the rows so far, on 8 scenes.")
    expect(page.locator("#measure")).to_be_disabled()
    page.get_by_role("tab", name="Train").click()
    page.get_by_role("button", name="Delete", exact=True).click()
    page.get_by_role("button", name="Delete it").click()
    expect(page.locator(".toast-body").last).to_contain_text("kept is being measured")
    page.get_by_role("tab", name="Evaluate").click()
    stop.click()
    expect(status).to_contain_text("it was stopped, and the rows measured until then were kept")
    expect(page.locator("#measure")).to_be_enabled()
    expect(stop).to_be_hidden()


def _instead(words, start, _words, *places):
    start(words, *places)
