"""Clips on the Compare tab: strips whose frames the browser shows in step."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import pytest
from PIL import Image, ImageStat

from lisa.lab import FamilyView, PairView
from tests.app.fake_lab import FakeLab
from tests.browser.test_pages import choose, expect, generate

pytestmark = pytest.mark.browser
CLIPS, FRAMES = "scenes-video", 8
PICTURES = (".condition img", "#left-picture img", "#right-picture img", "#overlay img")


@dataclass
class ClipLab(FakeLab):
    """Also knows a family of clips, whose frames are brighter and brighter."""

    def families(self) -> tuple[FamilyView, ...]:
        return *super().families(), FamilyView(CLIPS, "Scenes in motion", True, "", ("canny",), 128, frames=FRAMES)

    def pairs(self, family: str = "", condition: str = "") -> tuple[PairView, ...]:
        moving = PairView("checkpoints/moving/canny", "canny in motion", CLIPS, "canny", ("baseline", "lisa"), (60,))
        fits = family in ("", CLIPS) and condition in ("", "canny")
        return (*super().pairs(family, condition), moving) if fits else super().pairs(family, condition)

    def _imagine(self, settings, condition, arm):
        image = super()._imagine(settings, condition, arm)
        if settings.family != CLIPS:
            return image
        clip = tuple(Image.new("RGB", (64, 64), (20 * i, 20 * i, 40)) for i in range(1, FRAMES + 1))
        return replace(image, image=clip[0], clip=clip)


@pytest.fixture(scope="module")
def lab() -> ClipLab:
    return ClipLab()


def positions(page):
    return [page.locator(name).first.evaluate("img => getComputedStyle(img).objectPosition") for name in PICTURES]


def test_a_pair_of_clips_plays_in_step_and_can_be_held_still(page, lab):
    choose(page, "Family", "Scenes in motion")
    expect(page.get_by_role("combobox", name="Pair")).to_have_value("canny in motion")
    generate(page)
    settings, condition = lab.asked[-1]
    assert settings.family == CLIPS and condition.width == FRAMES * condition.height
    for name in PICTURES[1:]:
        page.wait_for_function("name => document.querySelector(name).naturalWidth == 8 * 64", arg=name)
    # Every frame comes, whatever else happens: seven eighths of the strip pass behind the window.
    for frame in (0, FRAMES - 1):
        page.wait_for_function(
            "([name, x]) => parseFloat(getComputedStyle(document.querySelector(name)).objectPosition) == x",
            arg=["#left-picture img", 100 * frame / (FRAMES - 1)], polling=20,
        )  # fmt: skip
    page.get_by_label("Hold the clips still").check()
    still = positions(page)
    assert len(set(still)) == 1
    assert positions(page) == still
    # What is seen is one frame: as bright as that one in both pictures.
    left, right = (brightness(page, f"#{side}-picture") for side in ("left", "right"))
    assert left == right and any(abs(left - 20 * i) < 3 for i in range(1, FRAMES + 1))


def brightness(page, picture):
    """Of the middle of what the browser shows."""
    from io import BytesIO

    with Image.open(BytesIO(page.locator(f"{picture} img").screenshot())) as shot:
        return ImageStat.Stat(shot.convert("RGB").crop((60, 60, 120, 120))).mean[0]


def test_grids_and_blind_tests_show_clips_and_images_come_back_without_a_player(page):
    choose(page, "Family", "Scenes in motion")
    page.get_by_label("Hold the clips still").wait_for()
    page.get_by_role("button", name=re.compile("^Blind test")).click()
    page.locator("#blind-new").click()
    expect(page.locator("#vote-0")).to_be_enabled()
    page.wait_for_function("document.querySelector('#blind-left img').naturalWidth == 8 * 64")
    choose(page, "Family", "Scenes UNet")
    expect(page.get_by_label("Hold the clips still")).to_have_count(0)
    generate(page)
    page.wait_for_function("document.querySelector('#left-picture img').naturalWidth == 128")
