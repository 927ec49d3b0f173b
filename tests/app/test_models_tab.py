"""The Models tab without a server: what is listed, what a form asks the desk for, and what it says."""

from __future__ import annotations

import gradio as gr
import pytest

from app.shared import Shared
from app.tabs._models_page import NO_PAIRS, NO_SIDES, size_words
from app.tabs.models import Models
from lisa.errors import LisaError
from lisa.sharing.desk import ModelDesk
from lisa.sharing.inventory import MainView, SideView
from tests.app.fake_lab import FAMILY, FakeLab

MAINS = (
    MainView(FAMILY, "Scenes UNet", "/lab/checkpoints/scenes-unet", "folder", 43_000_000, 10_700_000, ""),
    MainView("sd15", "Stable Diffusion 1.5", "owner/sd15", "", 0, 0, "owner/sd15 is not on this machine."),
)
SIDES = (
    SideView("checkpoints/canny", FAMILY, "canny", ("baseline", "lisa"), (200, 4000), 9_600_000, "came with the lab"),
    SideView("runs/mine", FAMILY, "depth", ("imported",), (0,), 2_000, "imported"),
    SideView("runs/young", FAMILY, "depth", ("baseline", "lisa"), (), 500, "trained here"),
)  # fmt: skip


@pytest.fixture(autouse=True)
def _no_token(monkeypatch):
    for name in ("HF_TOKEN", "SPACE_ID"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def make(tmp_path):
    def made(**options) -> Models:
        with gr.Blocks() as page, gr.Tabs() as tabs, gr.Tab() as opened:
            return Models(FakeLab(root=tmp_path, **options), Shared(page, tabs, opened, gr.State()))

    return made


@pytest.fixture
def tab(make, monkeypatch) -> Models:
    monkeypatch.setattr(ModelDesk, "installed", lambda desk: MAINS)
    monkeypatch.setattr(ModelDesk, "sides", lambda desk: SIDES)
    return make()


def test_networks_are_listed_with_where_they_come_from(tab):
    mains, missing, sides, none, choice, pack, push = tab.refresh("runs/trial")
    assert mains == [["Scenes UNet", "folder", "scenes-unet", "43.0 MB", "10.7 M"]]
    assert missing == "- **Stable Diffusion 1.5**: owner/sd15 is not on this machine."
    assert sides["visible"] and [row[4:] for row in sides["value"]] == [
        ["200, 4,000", "9.6 MB", "came with the lab"],
        ["not known", "2 kB", "imported"],
        ["none kept yet", "0 kB", "trained here"],
    ]
    assert none == "" and "value" not in choice and pack["interactive"] and not push["interactive"]
    assert tab.refresh("runs/gone")[4]["value"] == "checkpoints/side/canny"


def test_an_empty_lab_says_what_to_do(make):
    tab = make(trained=False, finished_example=False)
    assert tab.ui.none.value == NO_SIDES and tab.ui.packed.value == NO_PAIRS
    assert not tab.ui.pack.interactive and not tab.ui.push.interactive and not tab.ui.sides.visible
    with pytest.raises(LisaError, match="nothing to share yet"):
        tab.pack("", "", "")
    *_, choice, pack, _ = tab.refresh(None)
    assert "value" not in choice and not pack["interactive"]


def test_an_import_passes_the_form_on_and_says_where_it_appears(tab, monkeypatch):
    asked = []

    def import_side(desk, *arguments, **named):
        asked.append((desk.root, arguments, named))
        return "runs/mine"

    monkeypatch.setattr(ModelDesk, "import_side", import_side)
    words, name = tab.bring("owner/name@v1", FAMILY, "canny", " mine ", None)
    assert asked == [(tab.lab.root, ("owner/name@v1", FAMILY, "canny", "mine"), {"main": ""})]
    assert "**runs/mine**" in words and "Evaluate" in words and name == ""
    with pytest.raises(LisaError, match="nothing to import yet"):
        tab.bring(" ", FAMILY, "canny", "mine", "")


def test_an_uploaded_zip_becomes_the_source(tab, tmp_path):
    (tmp_path / "theirs.zip").write_bytes(b"0" * 2_500_000)
    source, words = tab.take_zip(str(tmp_path / "theirs.zip"))
    assert source == str(tmp_path / "theirs.zip") and words.startswith("**theirs.zip** (2.5 MB)")
    with pytest.raises(LisaError, match="no file yet"):
        tab.take_zip(None)


def test_another_run_offers_its_own_steps_and_networks(tab):
    step, arm = tab.choose("runs/trial")
    assert step["value"] == "step-000060" and [value for _, value in step["choices"]] == ["step-000060", "step-000030"]
    assert arm["choices"] == ["baseline", "lisa", "wide"] and arm["value"] == "lisa"
    assert tab.choose("runs/gone")[1]["value"] is None


def test_a_zip_is_served_from_the_apps_own_cache_beside_its_card(tab, monkeypatch, tmp_path):
    asked = []
    zipped = tmp_path / "packages" / "trial.zip"
    zipped.parent.mkdir()
    zipped.write_bytes(b"zip")

    def package(desk, *chosen):
        asked.append(chosen)
        return zipped

    monkeypatch.setattr(ModelDesk, "package", package)
    monkeypatch.setattr(ModelDesk, "card", lambda desk, *chosen: f"card of {chosen}")
    download, card, words = tab.pack("runs/trial", "step-000030", "wide")
    assert asked == [("runs/trial", 30, "wide")] and words.startswith("**trial.zip**") and not zipped.exists()
    assert download["visible"] and download["value"] != str(zipped) and download["value"].endswith("trial.zip")
    assert card["value"] == "card of ('runs/trial', 30, 'wide')"
    assert not any(update["visible"] for update in tab.forget()[:2])
    with pytest.raises(LisaError, match="no checkpoint 'step-000031'"):
        tab.pack("runs/trial", "step-000031", "wide")


def test_a_push_needs_a_token_and_is_private_unless_unticked(tab, make, monkeypatch):
    assert not tab.ui.push.interactive and "HF_TOKEN is not set" in tab.ui.pushed.value
    with pytest.raises(LisaError, match="HF_TOKEN is not set"):
        tab.push("runs/trial", "step-000030", "wide", "a/b", True)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    asked = []

    def push(desk, *chosen, private):
        asked.append((*chosen, private))
        return "https://hub.test/a/b"

    monkeypatch.setattr(ModelDesk, "push", push)
    assert "everybody who can open this page" in tab.reason() and make().ui.push.interactive
    for private in (True, None, False):
        words = tab.push("runs/trial", "", "wide", " a/b ", private)
    assert words == "It is at [https://hub.test/a/b](https://hub.test/a/b)."
    assert asked == [("runs/trial", 60, "wide", "a/b", private) for private in (True, True, False)]


@pytest.mark.parametrize(("count", "words"), [(0, "0 kB"), (1_500, "2 kB"), (2_340_000, "2.3 MB"), (4e9, "4.0 GB")])
def test_sizes(count, words):
    assert size_words(count) == words
