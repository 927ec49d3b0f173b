"""Two conditions at once, and drawing over a map: what is asked of the lab is what was seen."""

from __future__ import annotations

import re

import numpy as np
import pytest

from tests.browser.test_pages import choose, expect, generate, open_condition

pytestmark = pytest.mark.browser


def open_second(page):
    page.get_by_role("button", name="A second condition").click()
    page.locator("#second-map").wait_for()


def test_a_map_travels_to_the_second_condition_and_both_are_asked_for(page, lab, tmp_path):
    open_condition(page)
    choose(page, "2. Annotator", "Exact depth of the scene")
    expect(page.locator("#map-status")).to_contain_text("Depth map")
    page.get_by_role("button", name="Use as second condition").click()
    expect(page.locator("#second-map img")).to_be_visible()  # nothing has to be opened first
    expect(page.locator("#hint")).to_contain_text("lies under A second condition now, with the pair depth, 4000 steps")
    expect(page.locator("#second-run input")).to_have_value("depth, 4000 steps")
    generate(page)
    settings, first = lab.asked[-1]
    assert (settings.condition, settings.second_run) == ("canny", "checkpoints/side/depth")
    assert settings.second_checkpoint == "step-004000" and settings.second_strength == 1
    assert lab.seconds[-1].tobytes() == lab.render_scene(0).maps["depth"].tobytes() != first.tobytes()
    expect(page.locator("#status")).to_contain_text("and depth at strength 1")
    page.locator("#second-clear").click()
    expect(page.locator("#second-run input")).to_have_value("None")
    generate(page)
    assert lab.seconds[-1] is None and lab.asked[-1][0].second_run == ""


def test_a_second_pair_without_its_map_is_told(page, lab):
    open_second(page)
    choose(page, re.compile("^Second pair$"), "pose, 4000 steps")
    page.get_by_role("button", name="A grid over one setting").click()
    choose(page, re.compile("^Setting"), "Second strength")
    asked = len(lab.asked)
    page.locator("#second-clear").click()
    expect(page.locator("#second-run input")).to_have_value("None")
    page.locator("#draw-grid").click()
    expect(page.get_by_text("no second condition whose strength")).to_be_visible()
    assert len(lab.asked) == asked


def test_strokes_change_the_map_where_they_are_and_nowhere_else(page, lab):
    open_condition(page)
    page.get_by_role("button", name="Draw over the map").click()
    page.locator("#over-start").click()
    canvas = page.locator("#over-map canvas").first
    canvas.wait_for()
    page.locator("#over-take").click()
    expect(page.get_by_text("Nothing has been drawn")).to_be_visible()
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 4, y)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 3 / 4, y, steps=8)
    page.mouse.up()
    page.locator("#over-take").click()
    expect(page.locator("#map-status")).to_contain_text("drawn over")
    page.get_by_role("button", name="Use in Compare").click()
    generate(page)
    before, after = (np.asarray(image) for image in (lab.render_scene(0).maps["canny"], lab.asked[-1][1]))
    assert before.shape == after.shape and set(np.unique(after)) <= {0, 255}
    rows = np.flatnonzero((before != after).any((1, 2)))
    assert len(rows) and rows.min() > 50 and rows.max() < 78
    assert (after[64, 40:88] == 255).all()
