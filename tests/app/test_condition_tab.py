"""What happens behind the Condition tab, without a server."""

from __future__ import annotations

import gradio as gr
import pytest
from PIL import Image

from app import intake
from app.shared import Made
from app.tabs._condition_page import about, mark_of
from app.tabs._draw_over import MOST_KEPT, lay, remove_strokes, take_strokes, words_about
from app.tabs.condition import _offer
from lisa.errors import LisaError
from tests.app.fake_lab import FakeLab

BLACK = Image.new("RGB", (64, 64))


def drawing(*box: int) -> dict:
    """What the canvas gives after a white stroke over a box of the map, which lies on it eight times as large."""
    layer = Image.new("RGBA", (512, 512))
    layer.paste((255, 255, 255, 255), tuple(8 * edge for edge in box))
    return {"layers": [layer]}


def sheet_of(made: Made):
    return lay(made)[-1]


def made_of(picture: str = "a", condition: str = "canny", grey: int = 0) -> Made:
    return Made(Image.new("RGB", (64, 64), (grey,) * 3), condition, picture)


def test_strokes_are_taken_at_the_maps_own_resolution():
    made = made_of()
    shown, words, drawn, kept = take_strokes(drawing(8, 16, 24, 18), sheet_of(made), made, {})
    assert shown.getbbox() == (8, 16, 24, 18) and shown.getextrema()[0] == (0, 255)
    assert words == "Canny map of 64 x 64 pixels, drawn over."
    assert drawn.plain.getbbox() is None and list(kept) == [made.place]


def test_strokes_fit_another_map_of_the_same_kind_of_the_same_picture_only():
    sheet, value = sheet_of(made_of()), drawing(8, 16, 24, 18)
    shown, *_ = take_strokes(value, sheet, made_of(grey=9), {})
    assert shown.getpixel((9, 17)) == (255, 255, 255) and shown.getpixel((0, 0)) == (9, 9, 9)
    for other in (made_of(picture="b"), made_of(condition="depth"), None):
        with pytest.raises(LisaError, match="of another picture or kind"):
            take_strokes(value, sheet, other, {})
    with pytest.raises(LisaError, match="No map lies under the pen yet"):
        take_strokes(value, None, made_of(), {})


def test_a_second_sheet_keeps_the_strokes_of_the_first():
    made = made_of()
    _, _, first, kept = take_strokes(drawing(8, 8, 16, 16), sheet_of(made), made, {})
    again, _, second, kept = take_strokes(drawing(40, 40, 48, 48), sheet_of(first), first, kept)
    assert again.getbbox() == (8, 8, 48, 48) and kept == {made.place: second.strokes}
    plain, words, bare, kept = remove_strokes(second, kept)
    assert plain.getbbox() is None and bare.strokes is None and not kept and "blank" in words
    with pytest.raises(LisaError, match="no strokes"):
        remove_strokes(bare, kept)


def test_only_so_many_maps_keep_their_strokes():
    kept = {}
    for number in range(MOST_KEPT + 3):
        made = made_of(str(number))
        *_, kept = take_strokes(drawing(8, 8, 16, 16), sheet_of(made), made, kept)
    assert len(kept) == MOST_KEPT and made.place in kept


def test_the_line_about_a_map_tells_of_strokes_that_wait_elsewhere():
    assert words_about(made_of(), {}).startswith("Canny map of 64 x 64 pixels. It is blank")
    assert words_about(Made(Image.new("RGB", (4, 2)), ""), {"elsewhere": BLACK}).endswith(
        "Your strokes wait with the map they were drawn over."
    )


def test_marks_tell_pictures_apart():
    lab = FakeLab()
    assert mark_of(lab.render_scene(1).image) == mark_of(lab.render_scene(1).image)
    assert mark_of(lab.render_scene(1).image) != mark_of(lab.render_scene(2).image)


@pytest.mark.parametrize(
    ("caption", "kept"), [("", False), (None, False), ("of scene 1", False), (" of scene 1 ", False), ("mine", True)]
)
def test_only_an_untouched_caption_gives_way(caption, kept):
    value, offered = _offer("of scene 2", caption, "of scene 1")
    assert offered == "of scene 2"
    assert value == (gr.skip() if kept else "of scene 2")


def test_missing_packages_and_missing_weights_are_told_apart():
    views = {view.name: view for view in FakeLab().annotators()}
    if not views["dwpose"].installed:
        assert "**Not here:**" in about(list(views.values()), "dwpose")
    if not views["midas"].available:
        assert views["midas"].installed and "**Not here yet:**" in about(list(views.values()), "midas")


@pytest.mark.parametrize("payload", ["text", 5, {"path": 5}, {"meta": {}}, []])
def test_what_is_no_upload_counts_as_an_empty_one(payload):
    assert intake.UploadData.model_validate(payload).path is None
    assert intake.DrawingData.model_validate({"layers": payload}).layers == []


def test_an_unreadable_file_is_told_or_handed_on(tmp_path):
    (tmp_path / "cut.png").write_bytes(b"\x89PNG")
    payload = intake.UploadData(path=str(tmp_path / "cut.png"))
    with pytest.raises(gr.Error, match="cannot be read as an image"):
        intake.SafeImage().preprocess(payload)
    value = intake.OptionalImage().preprocess(payload)
    assert isinstance(value, LisaError) and "'cut.png' cannot be read" in str(value)
    with pytest.raises(LisaError, match="no image file"):
        raise intake.OptionalImage().preprocess(intake.UploadData())
    assert intake.OptionalImage().preprocess(None) is None
