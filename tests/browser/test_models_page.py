"""The Models tab in a real browser: a side network comes in as a zip, and goes out as one."""

from __future__ import annotations

import re
import shutil
import zipfile

import pytest

from lisa.sharing.desk import ModelDesk
from tests.app.fake_lab import FakeLab

pytestmark = pytest.mark.browser


def expect(locator):
    from playwright.sync_api import expect

    return expect(locator, "")


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> FakeLab:
    """A lab whose imports do not reach into this repository."""
    return FakeLab(root=tmp_path_factory.mktemp("root"))


@pytest.fixture
def desk(monkeypatch, tmp_path):
    """The desk without networks: what it was asked for."""
    monkeypatch.delenv("HF_TOKEN", raising=False)
    asked = []

    def import_side(desk, *arguments, main):
        asked.append(arguments)
        return "runs/mine"

    def package(desk, *chosen):
        asked.append(chosen)
        path = tmp_path / "canny-step-004000-lisa.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("canny/README.md", "# Canny side network")
        return path

    monkeypatch.setattr(ModelDesk, "import_side", import_side)
    monkeypatch.setattr(ModelDesk, "package", package)
    monkeypatch.setattr(ModelDesk, "card", lambda desk, *chosen: "# Canny side network")
    return asked


def open_models(page):
    page.get_by_role("tab", name="Models").click()
    page.locator("#main-missing").get_by_text("Stable Diffusion 1.5").first.wait_for()


def test_a_side_network_comes_in_as_a_zip_and_goes_out_as_one(page, desk, tmp_path):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "config.json").write_text("{}")
    open_models(page)
    with page.expect_file_chooser() as chooser:
        page.locator("#models-upload").click()
    chooser.value.set_files(shutil.make_archive(str(tmp_path / "theirs"), "zip", tmp_path / "theirs"))
    expect(page.locator("#import-status")).to_contain_text("theirs.zip")
    page.get_by_role("textbox", name=re.compile("^Name of the new run")).fill("mine")
    page.locator("#import").click()
    expect(page.locator("#import-status")).to_contain_text("runs/mine fits and is here")
    source, family, condition, name = desk[-1]
    assert source.endswith("theirs.zip") and (family, condition, name) == ("scenes-unet", "canny", "mine")

    page.locator("#pack").click()
    expect(page.locator("#share-status")).to_contain_text("canny-step-004000-lisa.zip")
    assert desk[-1] == ("checkpoints/side/canny", 4000, "lisa")
    expect(page.locator("#card textarea")).to_have_value("# Canny side network")
    with page.expect_download() as download:
        page.locator("#share-download").click()
    download.value.save_as(tmp_path / "got.zip")
    with zipfile.ZipFile(tmp_path / "got.zip") as archive:
        assert archive.namelist() == ["canny/README.md"]
    expect(page.locator("#push")).to_be_disabled()
    expect(page.locator("#push-status")).to_contain_text("HF_TOKEN is not set")


def test_a_source_that_is_nothing_is_told_and_the_form_stays(page):
    open_models(page)
    source = page.get_by_role("textbox", name=re.compile("^From"))
    source.fill("no such thing")
    page.get_by_role("textbox", name=re.compile("^Name of the new run")).fill("mine")
    page.locator("#import").click()
    expect(page.locator(".toast-body")).to_contain_text("There is no 'no such thing' here")
    expect(source).to_have_value("no such thing")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [{"width": 375, "height": 812}], ids=["phone"])
def test_nothing_is_cut_off_on_a_phone(page, size, theme):
    open_models(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    assert page.locator("#main-table").bounding_box()["height"] < size["height"] / 2
    for name in ("#import", "#pack", "#push"):
        box = page.locator(name).bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= size["width"]
