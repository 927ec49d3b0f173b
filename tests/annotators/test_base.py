from __future__ import annotations

import math
import subprocess
import sys

import pytest
from PIL import Image

from lisa.annotators.base import ANNOTATORS, Knob, annotate, availability
from lisa.errors import LisaError

WEIGHTLESS = ("blur", "canny", "identity", "lineart-standard", "shuffle")


def test_every_annotator_the_lab_promises_is_here():
    promised = {
        "anyline",
        "blur",
        "canny",
        "dwpose",
        "hed",
        "identity",
        "leres",
        "lineart",
        "lineart-anime",
        "lineart-standard",
        "mediapipe-face",
        "midas",
        "mlsd",
        "normal-bae",
        "openpose",
        "pidinet",
        "sam",
        "shuffle",
        "teed",
        "zoe",
    }
    assert promised <= set(ANNOTATORS)


@pytest.mark.parametrize("name", list(ANNOTATORS))
def test_every_spec_explains_itself_and_its_defaults_are_allowed(name):
    spec = ANNOTATORS.get(name)
    assert spec.name == name
    assert spec.title
    assert spec.help.endswith(".")
    values = spec.read_knobs({})
    for knob in spec.knobs:
        assert knob.label
        assert not knob.help.endswith(".")
        assert knob.low <= knob.default <= knob.high
        assert type(values[knob.name]) is type(knob.default)


@pytest.mark.parametrize("name", WEIGHTLESS)
@pytest.mark.parametrize("size", [(1, 1), (70, 33)])
def test_maps_are_rgb_of_the_input_size(name, size):
    assert availability(name) == ""
    result = annotate(Image.effect_noise(size, 80), name)
    assert result.mode == "RGB"
    assert result.size == size


def test_nothing_heavy_is_imported_to_list_annotators():
    script = (
        "import sys; from lisa.annotators.base import ANNOTATORS, availability;"
        "[availability(name) for name in ANNOTATORS];"
        "heavy = ('torch', 'cv2', 'controlnet_aux', 'diffusers', 'transformers');"
        "print([module for module in heavy if module in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_unknown_names_and_values_are_one_sentence():
    image = Image.new("RGB", (8, 8))
    for name, knobs, source, sentence in [
        ("cany", {}, "", "did you mean canny?"),
        ("canny", {"low": 1}, "", "Unknown knob of canny 'low'"),
        ("canny", {"low_threshold": 300}, "", "low_threshold is 300, but must be a whole number, 0..255."),
        ("canny", {"low_threshold": 1.5}, "", "low_threshold is 1.5"),
        ("canny", {"blur": math.nan}, "", "blur is nan, but must be a number, 0..10 pixels."),
        ("canny", {"low_threshold": True}, "", "low_threshold is True"),
        ("canny", {"low_threshold": 200, "high_threshold": 100}, "", "must not be above high_threshold"),
        ("identity", {"invert": 2}, "", "invert is 2, but must be true or false."),
        ("canny", {}, "some/where", "Canny edges has no weights"),
    ]:
        with pytest.raises(LisaError) as caught:
            annotate(image, name, knobs, source)
        assert sentence in str(caught.value)


def test_knobs_take_what_forms_send():
    assert Knob("a", "A", 3, "A", 0, 9).read(4.0) == 4
    assert Knob("a", "A", 3.0, "A", 0, 9).read(4) == 4.0
    switch = Knob("a", "A", False, "A")
    assert [switch.read(value) for value in (0, 1, True)] == [False, True, True]


def test_canny_finds_the_edge_of_a_square():
    image = Image.new("RGB", (32, 32))
    image.paste((255, 255, 255), (8, 8, 24, 24))
    edges = annotate(image, "canny").convert("L").point(lambda value: value > 0 and 255)
    assert edges.getbbox() in {(7, 7, 24, 24), (8, 8, 25, 25), (7, 7, 25, 25), (8, 8, 24, 24)}
    assert edges.getpixel((16, 16)) == 0
    faint = Image.new("RGB", (32, 32), (100, 100, 100))
    faint.paste((120, 100, 100), (8, 8, 24, 24))
    assert annotate(faint, "canny").getbbox() is None
    assert annotate(faint, "canny", {"low_threshold": 10, "high_threshold": 20}).getbbox() is not None


def test_blur_removes_what_is_finer_than_its_factor():
    stripes = Image.new("L", (32, 32))
    for x in range(0, 32, 2):
        stripes.paste(255, (x, 0, x + 1, 32))
    low, high = annotate(stripes, "blur", {"factor": 4}).convert("L").getextrema()
    assert high - low <= 1
    assert annotate(stripes, "blur", {"factor": 1}).convert("L").getextrema() == (0, 255)


def test_identity_keeps_or_inverts():
    image = Image.new("RGB", (2, 2), (10, 20, 30))
    assert annotate(image, "identity").getpixel((0, 0)) == (10, 20, 30)
    assert annotate(image, "identity", {"invert": True}).getpixel((0, 0)) == (245, 235, 225)


def test_shuffle_repeats_with_its_seed_and_leaves_numpy_alone():
    import numpy as np

    image = Image.effect_noise((64, 64), 80)
    np.random.seed(5)
    expected = np.random.random()
    np.random.seed(5)
    first = annotate(image, "shuffle", {"seed": 1})
    assert np.random.random() == expected
    assert annotate(image, "shuffle", {"seed": 1}).tobytes() == first.tobytes()
    assert annotate(image, "shuffle", {"seed": 2}).tobytes() != first.tobytes()


def test_lineart_is_bright_on_dark_lines():
    image = Image.new("RGB", (64, 64), "white")
    image.paste((0, 0, 0), (31, 0, 33, 64))
    lines = annotate(image, "lineart-standard", {"detect_resolution": 64}).convert("L")
    assert lines.getpixel((32, 30)) > 100
    assert lines.getpixel((4, 30)) < 20
