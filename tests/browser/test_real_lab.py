"""The page over the embedded models: a pair, a look at features, a training run that outlives its page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app.build import build, launch
from lisa.lab import ROOT, Lab

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not (ROOT / "checkpoints" / "scenes-unet" / "canny").exists(),
        reason="the embedded models are not there yet: python -m lisa pretrain makes them",
    ),
]
LONG = 60_000  # milliseconds; a training process loads torch first


def expect(locator):
    from playwright.sync_api import expect

    return expect(locator, "")


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Lab:
    """The embedded models under a root of its own, so that runs of tests stay out of the working tree."""
    root = tmp_path_factory.mktemp("lab")
    for name in ("checkpoints", "assets"):
        (root / name).symlink_to(ROOT / name)
    return Lab(root)


@pytest.fixture(scope="module")
def url(browser, lab):
    page = build(lab)
    _, url, _ = launch(page, server_name="127.0.0.1", prevent_thread_lock=True, quiet=True)
    yield url
    page.close()


@pytest.fixture
def page(browser, url):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(LONG)
    errors = []
    page.on("pageerror", lambda e: errors.append(e.stack or str(e)))
    page.goto(url)
    page.get_by_role("button", name="Generate the pair").wait_for()
    yield page
    page.close()
    assert not errors


def fill(page, label, value):
    field = page.get_by_label(label, exact=True).locator("visible=true").first
    field.fill(str(value))
    field.press("Tab")


def open_tab(page, name):
    page.get_by_role("tab", name=name).click()


def test_a_pair_comes_from_the_embedded_models(page):
    page.get_by_role("button", name="Generate the pair").click()
    expect(page.locator("#status")).to_contain_text(re.compile("Done in .* seed 0, 20 steps"), timeout=LONG)
    shown = [page.locator(f"#{side}-picture img").get_attribute("src") for side in ("left", "right")]
    assert all("lisa-seed-000000" in source for source in shown) and shown[0] != shown[1]


def test_features_are_mapped_pointed_at_and_lassoed(page):
    open_tab(page, "Features")
    page.get_by_role("button", name="The probe").click()
    fill(page, "Scenes", 6)
    page.get_by_role("textbox", name=re.compile("^Timesteps")).fill("200,800")
    page.locator("#look").click()
    expect(page.locator("#features-status")).to_contain_text("48 rows", timeout=LONG)
    plot = page.locator("#features-plot .js-plotly-plot")
    plot.wait_for()
    expect(page.locator("#features-table")).to_contain_text("variance share")
    # The last dot of a trace lies on top of the others.
    dot = plot.locator(".scatterlayer .trace .points path").last
    dot.hover(force=True)
    expect(page.locator("#features-peek p")).to_contain_text("scene")
    expect(page.locator("#features-about")).to_contain_text("point 0, scene 0")  # before any click
    assert page.locator(".toast-body").count() == 0
    expect(page.locator("#features-verdict")).to_contain_text("Is LISA more disentangled than Baseline?")
    expect(page.locator("#cancel-look")).to_be_hidden()
    dot.click(force=True)
    pointed = re.search(r"point [1-9]\d*, scene \d+", page.locator("#features-peek p").inner_text())[0]
    expect(page.locator("#features-about")).to_contain_text(pointed)
    expect(page.locator("#features-about")).not_to_contain_text("point 0,")
    expect(page.locator("#features-near img").nth(8)).to_be_visible()
    near = [
        re.findall(r"scene (\d+), [\d.]+", each) for each in (shown_near(page, "Baseline"), shown_near(page, "LISA"))
    ]
    assert [len(set(scenes)) for scenes in near] == [4, 4]
    lasso(page, plot)
    expect(page.locator("#features-picked")).to_contain_text(re.compile(r"Scenes inside the lasso: [1-6] of \d+"))


def shown_near(page, title):
    """Captions of the neighbours for one network."""
    captions = page.locator("#features-near .caption-label").all_inner_texts()
    return " ".join(text for text in captions if text.startswith(title))


def look_into(page, scenes):
    open_tab(page, "Features")
    page.get_by_role("button", name="The probe").click()
    fill(page, "Scenes", scenes)
    page.locator("#look").click()


def test_maps_say_what_they_are_of_when_another_pair_is_chosen(page):
    look_into(page, 4)
    status = page.locator("#features-status")
    expect(status).to_contain_text("canny, scenes-unet, checkpoints/scenes-unet/canny, step", timeout=LONG)
    expect(page.locator("#features-plot .gtitle")).to_contain_text("checkpoints/scenes-unet/canny")
    expect(page.locator("#features-stale")).not_to_contain_text("choice above")
    options = page.get_by_role("option")
    page.get_by_role("combobox", name="Pair").locator("visible=true").first.click()
    options.first.wait_for()
    assert not [each for each in options.all_inner_texts() if "video" in each]
    options.filter(has_text="depth").first.click()
    expect(page.locator("#features-stale")).to_contain_text("is not what is shown here: Pair")
    expect(status).to_contain_text("checkpoints/scenes-unet/canny")


def test_a_look_can_be_cancelled_and_leaves_the_queue_free(page, lab):
    look_into(page, 2000)
    page.locator("#cancel-look").click()
    expect(page.locator("#cancel-look")).to_be_hidden()
    page.get_by_role("button", name="The probe").wait_for()
    fill(page, "Scenes", 4)
    page.locator("#look").click()
    expect(page.locator("#features-status")).to_contain_text("80 rows for each network, 4 scenes", timeout=LONG)
    assert page.locator(".toast-body").count() == 0


def test_a_refused_look_is_told_by_its_toast_alone(page):
    open_tab(page, "Features")
    page.get_by_role("button", name="The probe").click()
    timesteps = page.get_by_role("textbox", name=re.compile("^Timesteps"))
    timesteps.fill("5,5")
    timesteps.press("Tab")
    page.locator("#look").click()
    expect(page.get_by_text("use different whole numbers from 0 to 999")).to_be_visible()
    expect(page.locator("#cancel-look")).to_be_hidden()
    expect(page.locator("#features-status").get_by_text("Error", exact=True)).to_be_hidden()
    expect(page.locator("#features-status")).to_contain_text("Press Look into both networks")


def test_nothing_is_wider_than_a_phone(browser, url):
    page = browser.new_page(viewport={"width": 390, "height": 844})
    page.set_default_timeout(LONG)
    page.goto(url)
    page.get_by_role("button", name="Generate the pair").wait_for()
    look_into(page, 4)
    expect(page.locator("#features-near img").nth(6)).to_be_attached()  # three other scenes for each network
    page.locator("#see").click()
    expect(page.locator("#score-pictures img").nth(29)).to_be_attached()  # six rows, five timesteps
    fits(page, "#score-pictures", "#features-near")
    open_tab(page, "Evaluate")
    page.locator("#round-trip").click()
    expect(page.locator("#round-trips img").nth(7)).to_be_attached()
    fits(page, "#round-trips")
    page.close()


def fits(page, *galleries):
    """Nothing lies beside the page, and no caption of the galleries is cut."""
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for gallery in galleries:
        captions = page.locator(f"{gallery} .caption-label")
        cut = captions.evaluate_all("all => all.filter(c => c.scrollWidth > c.clientWidth).map(c => c.innerText)")
        assert captions.count() and not cut


def lasso(page, plot):
    """Draw around everything in the left panel."""
    box = plot.locator(".nsewdrag").first.bounding_box()
    left, top, right, bottom = (
        box["x"] + 2, box["y"] + 2, box["x"] + box["width"] - 2, box["y"] + box["height"] - 2,
    )  # fmt: skip
    page.mouse.move(left, top)
    page.mouse.down()
    for x, y in ((right, top), (right, bottom), (left, bottom), (left, top)):
        page.mouse.move(x, y, steps=6)
    page.mouse.up()


def test_a_run_goes_on_while_the_page_is_reloaded_and_a_second_one_looks(browser, url, page, lab):
    open_tab(page, "Train")
    page.get_by_role("textbox", name=re.compile("^Name")).fill("tried")
    for label, value in (("Steps", 2000), ("Batch size", 1), ("Samples", 128)):
        fill(page, label, value)
    page.locator("#start").click()
    expect(page.locator("#train-status")).to_contain_text(re.compile("is running.*steps/s"), timeout=LONG)
    page.get_by_role("button", name="Sample now").click()
    expect(page.locator("#samples img").nth(2)).to_be_visible(timeout=LONG)
    page.reload()
    other = browser.new_page()
    other.set_default_timeout(LONG)
    other.goto(url)
    for each in (page, other):
        open_tab(each, "Train")
        expect(each.locator("#train-status")).to_contain_text("is running", timeout=LONG)
    other.locator("#stop").click()
    for each in (page, other):
        expect(each.locator("#train-status")).to_contain_text("was stopped and saved", timeout=LONG)
    other.close()
    page.locator("#resume").click()
    expect(page.locator("#train-status")).to_contain_text("is running", timeout=LONG)
    page.locator("#stop").click()
    expect(page.locator("#train-status")).to_contain_text("was stopped and saved", timeout=LONG)
    assert [path.name for path in Path(lab.root / "runs").iterdir()] == ["tried"]
    for tab, label in (("Compare", "Pair"), ("Features", "Pair"), ("Evaluate", "Run"), ("Models", "Run")):
        open_tab(page, tab)  # without a reload
        choose = page.get_by_role("combobox", name=label, exact=False).locator("visible=true").first
        choose.click()
        page.get_by_role("option", name=re.compile("tried")).wait_for()
        choose.press("Escape")


def test_a_shipped_pair_was_measured_and_is_read_back_scene_by_scene(page):
    open_tab(page, "Evaluate")
    page.get_by_role("combobox", name="Run").locator("visible=true").first.click()  # at first the youngest own one
    page.get_by_role("option", name=re.compile("^scenes-unet.canny")).click()
    expect(page.locator("#evaluate-status")).to_contain_text(re.compile(r"Measured on \d+ held-out scenes"))
    expect(page.locator("#evaluate-table")).to_contain_text("LISA")
    page.locator("#measure-0 .js-plotly-plot").wait_for()
    page.locator("#round-trip").click()
    expect(page.locator("#round-trip-words")).to_contain_text(
        re.compile(r"mean over \d+ scenes: Baseline [\d.]+, LISA [\d.]+"), timeout=LONG
    )
    expect(page.locator("#round-trips img").nth(7)).to_be_visible()


def test_a_second_condition_changes_the_picture(page):
    page.get_by_role("button", name="Generate the pair").click()
    expect(page.locator("#status")).to_contain_text("Done in", timeout=LONG)
    alone = page.locator("#right-picture img").get_attribute("src")
    open_tab(page, "Condition")
    page.get_by_role("combobox", name="2. Annotator").click()
    page.get_by_role("option", name="Exact depth of the scene").click()
    expect(page.locator("#map-status")).to_contain_text("Depth map")
    page.get_by_role("button", name="Use as second condition").click()
    expect(page.locator("#second-run input")).to_have_value(re.compile("^depth"))
    page.get_by_role("button", name="Generate the pair").click()
    expect(page.locator("#status")).to_contain_text("and depth at strength 1", timeout=LONG)
    assert page.locator("#right-picture img").get_attribute("src") != alone


def test_the_models_tab_lists_what_came_with_the_lab(page):
    open_tab(page, "Models")
    panel = page.get_by_role("tabpanel").locator("visible=true")
    for name in ("canny", "depth", "segmentation", "pose"):
        expect(panel.get_by_text(name).locator("visible=true").first).to_be_visible()
