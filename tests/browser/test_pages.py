"""What a visitor sees and does, in a real browser."""

from __future__ import annotations

import json
import re
import time
import zipfile

import pytest
from PIL import Image

from lisa.errors import LisaError

pytestmark = pytest.mark.browser
DONE = re.compile("Done in")


def expect(locator):
    from playwright.sync_api import expect

    return expect(locator, "")


def generate(page):
    page.get_by_role("button", name="Generate the pair").click()
    expect(page.locator("#status")).to_contain_text(DONE)


def open_condition(page):
    page.get_by_role("tab", name="Condition").click()
    page.locator("#map img").wait_for()


def choose(page, label, option):
    page.get_by_role("combobox", name=label).click()
    page.get_by_role("option", name=option, exact=True).click()


def prompt(page):
    return page.get_by_role("textbox", name=re.compile("^Prompt"))


def test_the_first_screen_is_a_finished_example_and_one_obvious_button(browser, url):
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    begin = time.monotonic()
    page.goto(url)
    button = page.get_by_role("button", name="Generate the pair")
    button.wait_for()
    for picture in ("#left-picture img", "#right-picture img", ".condition img"):
        page.locator(picture).wait_for()
    assert time.monotonic() - begin < 10
    assert page.locator("h1").count() == 1
    assert page.locator("button.primary:visible").count() == 1
    for locator in (button, page.locator("#left-picture"), page.locator("#status")):
        box = locator.bounding_box()
        assert box["y"] + box["height"] <= 800
    expect(page.locator("#status")).to_contain_text("A finished example")
    page.close()


def test_a_pair_replaces_the_example_and_can_be_downloaded_with_its_settings(page, lab, tmp_path):
    before = page.locator("#right-picture img").get_attribute("src")
    page.get_by_label("Seed", exact=True).fill("123")
    generate(page)
    assert page.locator("#right-picture img").get_attribute("src") != before
    assert lab.asked[0][0].seed == 123
    with page.expect_download() as download:
        page.get_by_role("link", name="Download LISA").or_(page.get_by_role("button", name="Download LISA")).click()
    assert download.value.suggested_filename == "lisa-seed-000123-lisa.png"
    download.value.save_as(tmp_path / "pair.png")
    with Image.open(tmp_path / "pair.png") as image:
        assert json.loads(image.text["lisa"])["seed"] == 123
    # The same file, given back, fills the form, and the next image is the same again.
    page.get_by_label("Seed", exact=True).fill("5")
    page.get_by_label("New seed each time").check()
    page.locator("#png input[type=file]").set_input_files(tmp_path / "pair.png")
    expect(page.get_by_label("Seed", exact=True)).to_have_value("123")
    expect(page.get_by_label("New seed each time")).not_to_be_checked()
    expect(page.locator("#png-words")).to_contain_text("The settings are back")
    # A file without settings takes these words back; the place is ready for the next file each time.
    Image.new("RGB", (8, 8)).save(tmp_path / "other.png")
    page.locator("#png input[type=file]").set_input_files(tmp_path / "other.png")
    expect(page.get_by_text("carries no settings of the lab")).to_be_visible()
    expect(page.locator("#png-words")).not_to_contain_text("are back")
    page.locator("#png input[type=file]").set_input_files(tmp_path / "pair.png")
    expect(page.locator("#png-words")).to_contain_text("The settings are back")


def test_the_example_can_be_downloaded_with_its_settings(page, lab, tmp_path):
    button = page.get_by_role("link", name="Download LISA").or_(page.get_by_role("button", name="Download LISA"))
    with page.expect_download() as download:
        button.click()
    download.value.save_as(tmp_path / "example.png")
    assert lab.settings_of(tmp_path / "example.png").prompt == lab.example().settings.prompt


def test_a_reload_during_a_generation_brings_the_form_back(page, errors):
    prompt(page).fill("a teapot that took long to describe")
    page.get_by_label("Sampling steps").fill("7")
    page.get_by_role("button", name="Generate the pair").click()
    page.wait_for_function("localStorage.getItem('lisa-compare')")
    page.reload()
    expect(prompt(page)).to_have_value("a teapot that took long to describe")
    expect(page.get_by_label("Sampling steps")).to_have_value("7")
    expect(page.locator("#hint")).to_contain_text("Your settings are back")
    errors.clear()  # the page that was left may have said that its connection was cut
    # Only once: what was typed since stays when the tab is opened again.
    prompt(page).fill("a cone")
    open_condition(page)
    page.get_by_role("tab", name="Compare").click()
    generate(page)
    expect(prompt(page)).to_have_value("a cone")


def test_a_map_travels_from_a_scene_to_a_pair_that_learned_its_kind(page, lab):
    open_condition(page)
    page.get_by_label("Scene", exact=True).fill("5")
    page.get_by_label("Scene", exact=True).press("Enter")
    expect(page.get_by_label("Caption")).to_have_value(lab.render_scene(5).caption)
    choose(page, "2. Annotator", "Exact depth of the scene")
    expect(page.locator("#map-status")).to_contain_text("Depth map")
    page.get_by_role("button", name="Use in Compare").click()
    expect(prompt(page)).to_have_value(lab.render_scene(5).caption)
    expect(page.get_by_role("combobox", name="Pair")).to_have_value("depth, 4000 steps")
    generate(page)
    settings, condition = lab.asked[-1]
    assert settings.condition == "depth"
    assert condition.tobytes() == lab.render_scene(5).maps["depth"].tobytes()


def test_a_click_on_an_exact_map_takes_it(page):
    open_condition(page)
    page.locator("#maps button").filter(has_text="segmentation").click()
    expect(page.locator("#map-status")).to_contain_text("Segmentation map")


def test_knobs_belong_to_the_annotator_and_change_the_map_at_once(page):
    open_condition(page)
    low = page.get_by_role("spinbutton", name=re.compile("Low threshold"))
    low.wait_for()
    before = page.locator("#map img").get_attribute("src")
    low.fill("10")
    low.press("Enter")
    expect(page.locator("#map img")).not_to_have_attribute("src", before)
    choose(page, "2. Annotator", "Low resolution")
    page.get_by_role("spinbutton", name=re.compile("Factor")).wait_for()
    assert low.count() == 0
    expect(page.locator("#map-status")).to_contain_text("Blur map")


def test_an_annotator_that_is_not_here_says_why(page):
    open_condition(page)
    choose(page, "2. Annotator", "DWPose (not here yet)")
    expect(page.locator("#about")).to_contain_text("mmcv")


def test_an_uploaded_map_is_not_annotated_twice_without_a_word(page, lab, tmp_path):
    lab.render_scene(3).maps["depth"].save(tmp_path / "depth.png")
    open_condition(page)
    page.get_by_label("Your own picture").check()
    page.locator("#upload input[type=file]").set_input_files(tmp_path / "depth.png")
    expect(page.locator("#twice")).to_contain_text("looks like a condition map already")
    choose(page, "2. Annotator", "Already a condition map")
    expect(page.locator("#twice")).not_to_contain_text("looks like")


def test_a_drawing_becomes_white_lines_and_an_empty_one_a_sentence(page, lab):
    open_condition(page)
    page.get_by_label("A drawing").check()
    canvas = page.locator("#drawing canvas").first
    canvas.wait_for()
    page.get_by_role("button", name="Make the map").click()
    expect(page.get_by_text("The drawing is empty")).to_be_visible()
    box = canvas.bounding_box()
    x, y = box["x"] + box["width"] / 3, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 60, y + 20, steps=8)
    page.mouse.up()
    page.get_by_role("button", name="Make the map").click()
    expect(page.locator("#map-status")).to_contain_text("Canny map")
    page.get_by_role("button", name="Use in Compare").click()
    generate(page)
    low, high = lab.asked[-1][1].convert("L").getextrema()
    assert (low, high) == (0, 255)
    assert lab.asked[-1][1].size == (512, 512)


def test_the_divider_and_the_overlay_follow_the_keyboard(page):
    divider = page.locator("#divider input[type=range]")
    top = page.locator("[data-testid=imageslider-image]").nth(1)
    before = top.evaluate("image => image.style.clipPath")
    divider.focus()
    for _ in range(5):
        divider.press("ArrowRight")
    expect(top).not_to_have_css("clip-path", before)
    over = page.locator("#overlay img").get_attribute("src")
    page.locator("#opacity input[type=range]").focus()
    page.locator("#opacity input[type=range]").press("Home")
    expect(page.locator("#overlay img")).not_to_have_attribute("src", over)


def test_earlier_training_steps_and_other_arms_can_be_chosen(page, lab):
    choose(page, "Pair", "depth, 60 steps (trial)")
    expect(page.get_by_role("combobox", name="Training step")).to_have_value("60 (last)")
    choose(page, "Training step", "30")
    page.get_by_role("button", name="Expert settings").click()
    choose(page, "Network on the left", "Wide")
    generate(page)
    settings = lab.asked[-1][0]
    assert (settings.run, settings.checkpoint, settings.arms) == ("runs/trial", "step-000030", "wide,lisa")
    expect(page.locator(".left .heading")).to_contain_text("Wide")


def test_a_grid_over_arms_draws_each_once(page, lab):
    page.get_by_role("button", name="A grid over one setting").click()
    choose(page, re.compile("^Setting"), "Arm: lambda or tap")
    expect(page.get_by_role("textbox", name=re.compile("^Values"))).to_have_value("")
    page.locator("#draw-grid").click()
    expect(page.locator("#grid img").nth(1)).to_be_visible()
    assert [settings.arms for settings, _ in lab.asked] == ["baseline", "lisa"]
    page.get_by_role("textbox", name=re.compile("^Values")).fill("lisa, stronger")
    page.locator("#draw-grid").click()
    expect(page.get_by_text("has no arm 'stronger'")).to_be_visible()


def test_a_grid_changes_one_setting_and_can_be_downloaded(page, lab, tmp_path):
    page.get_by_role("button", name="A grid over one setting").click()
    choose(page, re.compile("^Setting"), "Control strength")
    values = page.get_by_role("textbox", name=re.compile("^Values"))
    expect(values).to_have_value("0, 0.5, 1, 1.5")
    values.fill("0, 0.5, 1")
    page.locator("#draw-grid").click()
    expect(page.locator("#grid img").nth(5)).to_be_visible()
    expect(page.locator("#grid")).to_contain_text("Baseline, strength 0.5")
    assert [settings.strength for settings, _ in lab.asked] == [0.0, 0.5, 1.0]
    assert len({settings.seed for settings, _ in lab.asked}) == 1
    with page.expect_download() as download:
        page.get_by_role("link", name=re.compile("zip")).or_(page.get_by_role("button", name=re.compile("zip"))).click()
    path = tmp_path / "grid.zip"
    download.value.save_as(path)
    with zipfile.ZipFile(path) as pack:
        names = pack.namelist()
        assert "condition.png" in names and {"00-baseline.png", "02-lisa.png"} <= set(names) and len(names) == 7
        pack.extract("02-lisa.png", tmp_path)
    assert lab.settings_of(tmp_path / "02-lisa.png").strength == 1.0


def test_a_blind_pair_tells_its_order_after_the_vote(page, lab):
    page.get_by_role("button", name=re.compile("^Blind test")).click()
    for number in (1, 2):
        page.locator("#blind-new").click()
        expect(page.locator("#vote-0")).to_be_enabled()
        assert "was" not in page.locator("#blind-tally").inner_text()
        page.locator("#vote-2").click()
        expect(page.locator("#blind-tally")).to_contain_text(f"No difference {number}")
        expect(page.locator("#blind-tally")).to_contain_text(re.compile("Left was (Baseline|LISA), right was"))
        expect(page.locator("#vote-0")).to_be_disabled()
    assert len({settings.seed for settings, _ in lab.asked}) == 2
    page.locator("#blind-over").click()
    expect(page.locator("#blind-tally")).to_contain_text("No votes yet on Baseline and LISA of scenes-unet, canny")


@pytest.mark.parametrize("size", [{"width": 390, "height": 844}, {"width": 1280, "height": 800}], ids=["phone", "desk"])
def test_neither_side_of_a_blind_pair_is_larger_or_comes_first(page, size):
    page.get_by_role("button", name=re.compile("^Blind test")).click()
    page.locator("#blind-new").click()
    expect(page.locator("#vote-0")).to_be_enabled()
    left, asked, right = (page.locator(f"#blind-{name}").bounding_box() for name in ("left", "condition", "right"))
    assert left["y"] == right["y"]
    for side in ("width", "height"):
        assert left[side] == pytest.approx(right[side], abs=1)
    assert asked["y"] + asked["height"] <= left["y"] or size["width"] > 640


def test_failures_are_one_sentence_and_nothing_is_lost(page, lab):
    prompt(page).fill("a teapot")
    lab.failure = LisaError("The checkpoint is of another family: choose one that fits.")
    page.get_by_role("button", name="Generate the pair").click()
    expect(page.get_by_text("The checkpoint is of another family")).to_be_visible()
    lab.failure = RuntimeError("mat1 and mat2 in /secret/path")
    page.get_by_role("button", name="Generate the pair").click()
    expect(page.get_by_text("Something went wrong in the lab")).to_be_visible()
    assert page.get_by_text("/secret/path").count() == 0
    expect(prompt(page)).to_have_value("a teapot")
    expect(page.locator("#right-picture img")).to_be_visible()
    generate(page)


def test_a_wrong_number_is_told_by_its_label(page, lab):
    page.get_by_label("Sampling steps").fill("5000")
    page.get_by_role("button", name="Generate the pair").click()
    expect(page.get_by_text("Sampling steps is 5000, but must be a whole number, 1..1000 steps.")).to_be_visible()
    expect(page.get_by_label("Sampling steps")).to_have_value("5000")
    assert not lab.asked


def test_a_file_that_is_no_image_is_refused_with_a_sentence(page, tmp_path):
    (tmp_path / "fake.png").write_text("not an image")
    open_condition(page)
    page.get_by_label("Your own picture").check()
    page.locator("#upload input[type=file]").set_input_files(tmp_path / "fake.png")
    expect(page.get_by_text("cannot be read as an image").first).to_be_visible()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [{"width": 375, "height": 812}], ids=["phone"])
def test_nothing_is_cut_off_on_a_phone(page, size, theme):
    assert page.evaluate("document.body.classList.contains('dark')") == (theme == "dark")
    box = page.get_by_role("button", name="Generate the pair").bounding_box()
    assert box["y"] + box["height"] <= size["height"]
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    open_condition(page)
    for source in ("Your own picture", "A drawing", "A rendered scene"):
        page.get_by_label(source).check()
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
