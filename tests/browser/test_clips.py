"""Clips on the Compare tab: strips whose frames the browser shows in step."""

from __future__ import annotations

import re

import pytest
from PIL import Image, ImageStat

from tests.app.fake_lab import CLIPS, FRAMES, ClipLab
from tests.browser.test_pages import choose, expect, generate, open_condition

pytestmark = pytest.mark.browser
PICTURES = (".condition img", "#left-picture img", "#right-picture img", "#overlay img")


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
    expect(page.locator(".player-row.block")).to_contain_text("The condition map is a clip")  # and nothing else yet
    page.get_by_role("button", name=re.compile("^Blind test")).click()
    page.locator("#blind-new").click()
    expect(page.locator("#vote-0")).to_be_enabled()
    page.wait_for_function("document.querySelector('#blind-left img').naturalWidth == 8 * 64")
    expect(page.locator(".player-row.block")).to_contain_text("All 8 frames play in step")
    choose(page, "Family", "Scenes UNet")
    expect(page.get_by_label("Hold the clips still")).to_have_count(0)
    generate(page)
    page.wait_for_function("document.querySelector('#left-picture img').naturalWidth == 128")


def test_a_scene_in_motion_travels_to_a_family_that_makes_clips(page, lab):
    open_condition(page)
    page.locator("#moving input").check()
    expect(page.locator("#map-status")).to_contain_text("1024 x 128")
    page.get_by_role("button", name="Use in Compare").click()
    expect(page.get_by_role("combobox", name="Family")).to_have_value("Scenes in motion")
    expect(page.locator("#hint")).to_contain_text("The map is a clip, so the family is Scenes in motion now.")
    generate(page)
    assert (lab.asked[-1][0].family, lab.asked[-1][0].run) == (CLIPS, "checkpoints/moving/canny")


def test_clips_play_on_while_they_are_shown_whatever_family_is_chosen(page):
    choose(page, "Family", "Scenes in motion")
    generate(page)
    expect(page.locator(".player-row.block")).to_contain_text("All 8 frames play in step")
    choose(page, "Family", "Scenes UNet")
    expect(page.locator("#hint")).to_contain_text("a scene that stands still")
    expect(page.locator(".player-row.block")).to_contain_text("All 8 frames play in step")
    generate(page)
    expect(page.get_by_label("Hold the clips still")).to_have_count(0)
