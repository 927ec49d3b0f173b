"""The Condition tab in a browser: what fails leaves nothing behind, and what a person made is not lost."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from PIL import Image

from tests.browser.test_pages import choose, expect, generate, open_condition, prompt

pytestmark = pytest.mark.browser


@pytest.fixture
def broken(lab, tmp_path):
    """A picture whose second half is missing."""
    stream = io.BytesIO()
    Image.effect_noise((256, 256), 90).save(stream, "PNG")
    (tmp_path / "cut.png").write_bytes(stream.getvalue()[:3000])
    return tmp_path / "cut.png"


@pytest.fixture
def whole(lab, tmp_path):
    lab.render_scene(5).image.save(tmp_path / "whole.png")
    return tmp_path / "whole.png"


def own_picture(page):
    open_condition(page)
    page.get_by_label("Your own picture").check()
    expect(page.locator("#upload input[type=file]")).to_be_attached()


def upload(page, place, path):
    page.locator(f"{place} input[type=file]").set_input_files(path)


def refusals(page):
    return page.locator(".toast-body", has_text="cannot be read as an image")


def new_scene(page, number):
    page.get_by_label("Scene", exact=True).fill(str(number))
    page.get_by_label("Scene", exact=True).press("Enter")


def draw_a_line(page, height=1 / 2):
    canvas = page.locator("#over-map canvas").first
    canvas.wait_for()
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    y = box["y"] + box["height"] * height
    page.mouse.move(box["x"] + box["width"] / 4, y)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 3 / 4, y, steps=8)
    page.mouse.up()


def lay_under_the_pen(page):
    page.locator("#over-start").click()
    page.locator("#over-map canvas").first.wait_for()


def open_draw_over(page):
    open_condition(page)
    page.get_by_role("button", name="Draw over the map").click()
    lay_under_the_pen(page)


def carried(page, lab):
    """The map that Compare gets, after "Use in Compare"."""
    page.get_by_role("button", name="Use in Compare").click()
    generate(page)
    return np.asarray(lab.asked[-1][1])


def test_a_broken_picture_is_refused_once_and_leaves_nothing(page, broken, lab, tmp_path):
    lab.render_scene(3).maps["depth"].save(tmp_path / "depth.png")
    own_picture(page)
    upload(page, "#upload", tmp_path / "depth.png")
    expect(page.locator("#twice")).to_contain_text("condition map already")
    upload(page, "#upload", broken)
    expect(refusals(page)).to_have_count(1)
    expect(page.locator("#upload img")).to_have_count(0)
    expect(page.locator("#map img")).to_have_count(0)
    expect(page.locator("#map-status")).to_contain_text("as soon as there is a picture")
    expect(page.locator("#twice")).to_have_text("")
    page.get_by_role("button", name="Use in Compare").click()
    expect(page.get_by_text("There is no map yet")).to_be_visible()
    page.get_by_label("A rendered scene").check()
    expect(page.locator("#map-status")).to_contain_text("Canny map of 128 x 128")
    assert refusals(page).count() == 1


def test_after_a_broken_picture_a_good_one_is_taken(page, broken, whole):
    own_picture(page)
    upload(page, "#upload", broken)
    expect(refusals(page)).to_have_count(1)
    expect(page.locator("#upload img")).to_have_count(0)
    upload(page, "#upload", whole)
    expect(page.locator("#map-status")).to_contain_text("Canny map of 128 x 128")
    assert refusals(page).count() == 1


@pytest.mark.parametrize("place", [".stage .condition", "#second-map"])
def test_a_broken_map_on_compare_is_refused_once_and_the_field_is_empty(page, broken, place):
    if place == "#second-map":
        page.get_by_role("button", name="A second condition").click()
    page.locator(f"{place} input[type=file]").wait_for(state="attached")
    upload(page, place, broken)
    expect(refusals(page)).to_have_count(1)
    expect(page.locator(f"{place} img")).to_have_count(0)
    assert refusals(page).count() == 1


def test_a_picture_rather_than_a_map_is_still_noticed_on_compare(page, whole):
    upload(page, ".stage .condition", whole)
    expect(page.locator("#hint")).to_contain_text("looks like a picture")


def test_a_map_that_cannot_be_made_leaves_no_older_one(page):
    open_condition(page)
    low = page.get_by_role("spinbutton", name=re.compile("Low threshold"))
    low.fill("250")
    low.press("Enter")
    expect(page.get_by_text("must not be above high_threshold")).to_be_visible()
    expect(page.locator("#map img")).to_have_count(0)
    expect(page.locator("#map-status")).to_contain_text("could not be made")


def test_strokes_stay_with_their_map_while_knobs_move_and_scenes_change(page, lab):
    open_draw_over(page)
    draw_a_line(page)
    page.locator("#over-take").click()
    expect(page.locator("#map-status")).to_contain_text("drawn over")
    low = page.get_by_role("spinbutton", name=re.compile("Low threshold"))
    before = page.locator("#map img").get_attribute("src")
    low.fill("10")
    low.press("Enter")
    expect(page.locator("#map img")).not_to_have_attribute("src", before)
    expect(page.locator("#map-status")).to_contain_text("drawn over")
    new_scene(page, 7)
    expect(page.locator("#map-status")).to_contain_text("Your strokes wait")
    page.locator("#over-take").click()
    expect(page.get_by_text("a map of another picture or kind")).to_be_visible()
    expect(page.locator("#map-status")).to_contain_text("Your strokes wait")
    new_scene(page, 0)
    expect(page.locator("#map-status")).to_contain_text("drawn over")
    made = carried(page, lab)
    plain = lab.annotate(lab.render_scene(0).image, "canny", {"low_threshold": 10})
    assert (made != np.asarray(plain)).any() and (made[64, 40:88] == 255).all()


def test_strokes_that_were_not_taken_can_be_taken_after_a_knob_has_moved(page, lab):
    open_draw_over(page)
    draw_a_line(page)
    low = page.get_by_role("spinbutton", name=re.compile("Low threshold"))
    before = page.locator("#map img").get_attribute("src")
    low.fill("10")
    low.press("Enter")
    expect(page.locator("#map img")).not_to_have_attribute("src", before)
    page.locator("#over-take").click()
    expect(page.locator("#map-status")).to_contain_text("drawn over")
    made = carried(page, lab)
    plain = np.asarray(lab.annotate(lab.render_scene(0).image, "canny", {"low_threshold": 10}))
    rows = np.flatnonzero((made != plain).any((1, 2)))
    assert len(rows) and rows.min() > 50 and rows.max() < 78


def test_strokes_can_be_removed_and_taken_again(page, lab):
    open_draw_over(page)
    page.locator("#over-remove").click()
    expect(page.get_by_text("There are no strokes on this map")).to_be_visible()
    draw_a_line(page)
    page.locator("#over-take").click()
    expect(page.locator("#map-status")).to_contain_text("drawn over")
    page.locator("#over-remove").click()
    expect(page.locator("#map-status")).not_to_contain_text("drawn over")
    page.locator("#over-take").click()
    expect(page.locator("#map-status")).to_contain_text("drawn over")


def test_what_was_typed_as_caption_stays(page, lab):
    open_condition(page)
    caption = page.get_by_label("Caption")
    new_scene(page, 5)
    expect(caption).to_have_value(lab.render_scene(5).caption)
    caption.fill("my own words")
    new_scene(page, 6)
    expect(page.locator("#map-status")).to_contain_text("Canny map")
    page.get_by_label("Your own picture").check()
    expect(page.locator("#map-status")).to_contain_text("as soon as there is a picture")
    expect(caption).to_have_value("my own words")
    page.get_by_label("A rendered scene").check()
    expect(page.locator("#map-status")).to_contain_text("Canny map")
    page.get_by_label("Moving, 8 frames").check()
    expect(page.locator("#map-status")).to_contain_text("1024 x 128")
    expect(caption).to_have_value("my own words")
    page.get_by_role("button", name="Use in Compare").click()
    expect(prompt(page)).to_have_value("my own words")


def test_a_scenes_caption_gives_way_to_that_of_another_source(page, lab):
    open_condition(page)
    caption = page.get_by_label("Caption")
    expect(caption).to_have_value(lab.render_scene(0).caption)
    page.get_by_label("Your own picture").check()
    expect(caption).to_have_value("")
    page.get_by_label("A rendered scene").check()
    expect(caption).to_have_value(lab.render_scene(0).caption)


def test_an_annotator_without_its_packages_offers_nothing_that_cannot_help(page):
    open_condition(page)
    choose(page, "2. Annotator", "MiDaS depth (not here yet)")
    expect(page.locator("#weights")).to_be_visible()
    expect(page.locator("#map-status")).to_contain_text("Press Make the map")
    choose(page, "2. Annotator", "DWPose (not here yet)")
    expect(page.locator("#about")).to_contain_text("mmcv")
    expect(page.locator("#map-status")).to_contain_text("cannot run here")
    expect(page.locator("#weights")).not_to_be_visible()
    expect(page.locator("#make")).to_be_disabled()
    choose(page, "2. Annotator", "Low resolution")
    expect(page.locator("#make")).to_be_enabled()


@pytest.mark.parametrize("size", [{"width": 390, "height": 844}], ids=["phone"])
def test_the_names_of_exact_maps_are_whole_on_a_phone(page, size):
    open_condition(page)
    labels = page.locator("#maps .caption-label")
    expect(labels.filter(has_text="segmentation")).to_be_visible()
    for label in labels.all():
        assert label.evaluate("each => each.scrollWidth <= each.clientWidth"), label.inner_text()
