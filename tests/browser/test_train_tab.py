"""Data of one's own in the Train tab: uploaded, counted, checked and estimated, in a real browser."""

from __future__ import annotations

import re
import shutil

import pytest
from PIL import Image

from lisa.data.check import check_data
from lisa.plan import Estimate, Plan
from lisa.rundesk import RunDesk

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
