"""Intake, overlay, controls and the finding of tabs, without a server."""

from __future__ import annotations

import types

import gradio as gr
import numpy as np
import pytest
from PIL import Image

import app.build
from app import controls
from app.guard import UNFORESEEN, guarded
from app.intake import looks_like_map, read_drawing
from app.plots import INK, overlay
from lisa.annotators.base import ANNOTATORS, Knob
from lisa.errors import LisaError
from lisa.lab import PairView
from lisa.settings import GenerateSettings
from tests.app.fake_lab import FakeLab


def test_tabs_are_found_in_their_order():
    assert [tab.TITLE for tab in app.build.find_tabs()][:2] == ["Compare", "Condition"]


def test_two_tabs_of_one_title_are_refused(monkeypatch):
    tab = types.SimpleNamespace(TITLE="Twin", ORDER=1)
    monkeypatch.setattr(app.build.importlib, "import_module", lambda name: tab)
    with pytest.raises(LisaError, match="'Twin'"):
        app.build.find_tabs()


def words_on(page: gr.Blocks) -> str:
    return " ".join(str(block.value) for block in page.blocks.values() if isinstance(block, gr.Markdown))


def test_the_first_screen_tells_what_it_shows():
    assert "A finished example" in words_on(app.build.build(FakeLab()))
    assert "Nothing has been generated yet" in words_on(app.build.build(FakeLab(finished_example=False)))
    assert "There is no trained pair" in words_on(app.build.build(FakeLab(finished_example=False, trained=False)))


def test_every_control_has_a_label_and_help():
    page = app.build.build(FakeLab())
    kinds = (gr.Textbox, gr.Slider, gr.Number, gr.Dropdown, gr.Radio)
    for block in page.blocks.values():
        if isinstance(block, kinds):
            assert block.label and block.info, block
            assert block.info.endswith(".")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("prompt", gr.Textbox),
        ("seed", controls.Number),
        ("steps", controls.Number),
        ("guidance", controls.Slider),
    ],
)
def test_a_setting_becomes_a_control_with_its_default(name, kind):
    component = controls.control(GenerateSettings, name)
    assert type(component) is kind
    assert component.value == getattr(GenerateSettings(), name)


def test_every_knob_becomes_a_control():
    for spec in ANNOTATORS.values():
        for knob in spec.knobs:
            component = controls.knob_control(knob)
            assert component.value == knob.default and component.label == knob.label
            assert isinstance(component, gr.Checkbox) == isinstance(knob.default, bool)


def test_the_unit_is_told_once():
    assert controls.knob_control(Knob("a", "A", 1, "Width", unit="pixels")).info == "Width, in pixels."
    assert controls.knob_control(Knob("a", "A", 1, "Width in pixels", unit="pixels")).info == "Width in pixels."


def test_steps_are_listed_last_first_under_the_names_of_checkpoints():
    pair = PairView("runs/a", "a", "scenes-unet", "canny", ("baseline",), (50, 4000))
    assert controls.step_choices(pair) == [("4,000 (last)", "step-004000"), ("50", "step-000050")]
    assert controls.step_choices(None) == []


def test_pairs_of_several_families_are_told_apart():
    here, there = (PairView(f"checkpoints/{family}/canny", "canny, 60 steps", family, "canny", ("lisa",), (60,))
                   for family in ("scenes-unet", "scenes-dit"))  # fmt: skip
    assert controls.pair_choices([here]) == [("canny, 60 steps", here.id)]
    assert [title for title, _ in controls.pair_choices([here, there])] == [
        "canny, 60 steps, scenes-unet", "canny, 60 steps, scenes-dit",
    ]  # fmt: skip


def test_only_sentences_leave_a_guarded_function():
    def fail(error):
        raise error

    with pytest.raises(gr.Error) as told:
        guarded(fail)(LisaError("Too big."))
    assert told.value.message == "Too big." and not told.value.print_exception
    with pytest.raises(gr.Error) as told:
        guarded(fail)(KeyError("secret"))
    assert told.value.message == UNFORESEEN


def layer(*dots: tuple[int, int]) -> Image.Image:
    image = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    for dot in dots:
        image.putpixel(dot, (0, 0, 0, 255))
    return image


@pytest.mark.parametrize(
    "value", [None, {}, {"layers": []}, {"layers": [None]}, {"background": None, "layers": [layer()]}]
)
def test_an_empty_drawing_is_refused(value):
    with pytest.raises(LisaError, match="The drawing is empty"):
        read_drawing(value)


def test_strokes_become_white_on_black():
    drawing = read_drawing({"layers": [layer((3, 4)), layer((10, 20))]})
    assert drawing.mode == "RGB" and drawing.size == (64, 64)
    white = {(x, y) for x in range(64) for y in range(64) if drawing.getpixel((x, y)) == (255, 255, 255)}
    assert white == {(3, 4), (10, 20)}


@pytest.mark.parametrize("seed", range(6))
def test_maps_are_told_from_pictures(seed):
    scene = FakeLab().render_scene(seed)
    assert not looks_like_map(scene.image)
    assert {name: looks_like_map(image) for name, image in scene.maps.items()} == dict.fromkeys(scene.maps, True)


def test_a_single_pixel_is_no_map():
    assert not looks_like_map(Image.new("RGB", (1, 1), "black"))


def test_lines_are_laid_over_as_ink_and_leave_the_rest_alone():
    image = Image.new("RGB", (8, 8), (10, 200, 30))
    lines = Image.new("RGB", (8, 8), "black")
    lines.putpixel((2, 3), (255, 255, 255))
    over = overlay(image, lines, 1.0)
    assert over.getpixel((2, 3)) == INK
    assert over.getpixel((5, 5)) == (10, 200, 30)
    assert overlay(image, lines, 0.0).tobytes() == image.tobytes()


def test_coloured_lines_keep_their_colour():
    skeleton = Image.new("RGB", (8, 8), "black")
    skeleton.putpixel((2, 3), (255, 85, 0))
    assert overlay(Image.new("RGB", (8, 8), "blue"), skeleton, 1.0).getpixel((2, 3)) == (255, 85, 0)


def test_full_maps_are_blended():
    depth = Image.fromarray(np.full((4, 4, 3), 200, dtype=np.uint8))
    over = overlay(Image.new("RGB", (8, 8), (100, 100, 100)), depth, 0.25)
    assert over.size == (8, 8) and over.getpixel((0, 0)) == (125, 125, 125)
