"""The page as programs see it: a served app without its frontend, asked through gradio_client."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from app.build import build, host_guard, launch
from app.guard import UNFORESEEN
from lisa.errors import LisaError
from tests.app.fake_lab import FakeLab

GENERATE = {"condition": None, "random_seed": False, "left_arm": "baseline", "right_arm": "lisa"}


@pytest.fixture(scope="module")
def lab() -> FakeLab:
    return FakeLab()


@pytest.fixture(scope="module")
def client(lab, tmp_path_factory) -> Iterator[Client]:
    page = build(lab)
    _, url, _ = launch(page, server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, _frontend=False)
    yield Client(url, verbose=False, download_files=str(tmp_path_factory.mktemp("downloads")))
    page.close()


@pytest.fixture
def condition(lab, tmp_path) -> Path:
    lab.asked.clear()
    lab.render_scene(4).maps["canny"].save(tmp_path / "canny.png")
    return tmp_path / "canny.png"


def generate(client, condition, **values):
    inputs = {**GENERATE, "condition": handle_file(str(condition)), **values}
    return client.predict(**inputs, api_name="/generate")


def annotate(client, path, **values):
    inputs = {
        "source": "upload",
        "upload": handle_file(str(path)) if path else None,
        "drawing": None,
        **values,
    }
    return client.predict(**inputs, api_name="/annotate")


def failure(call, *args, **values) -> str:
    """The one sentence that a call fails with."""
    with pytest.raises(AppError) as caught:
        call(*args, **values)
    sentence = str(caught.value).strip("'\"")
    assert sentence.endswith((".", "?")) and "Traceback" not in sentence and "\n" not in sentence
    return sentence


def png_of(width: int, height: int) -> bytes:
    """A valid black PNG of any size in a few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    packer = zlib.compressobj(9)
    row = bytes(1 + (width + 7) // 8)
    rows = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([1, 0, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_what_is_public_is_named(client):
    assert set(client.view_api(return_format="dict")["named_endpoints"]) == {
        "/generate",
        "/annotate",
        "/features",
        "/scores",
        "/train",
        "/train_status",
        "/runs",
        "/evaluate",
        "/evaluation",
        "/round_trip",
    }


def test_generate_passes_every_setting_on_and_gives_pngs_that_carry_them(client, lab, condition):
    left, right, words, seed = generate(
        client,
        condition,
        prompt="a red cube",
        negative_prompt="fog",
        run="checkpoints/side/depth",
        checkpoint="step-000400",
        seed=9,
        steps=7,
        guidance=2.5,
        strength=0.5,
        control_start=0.1,
        control_end=0.9,
    )
    settings, map_ = lab.asked[-1]
    assert settings.prompt == "a red cube" and settings.negative_prompt == "fog"
    assert (settings.family, settings.condition, settings.run) == (
        "scenes-unet",
        "depth",
        "checkpoints/side/depth",
    )
    assert (settings.checkpoint, settings.arms) == ("step-000400", "baseline,lisa")
    assert (settings.seed, settings.steps, settings.guidance, settings.strength) == (9, 7, 2.5, 0.5)
    assert (settings.control_start, settings.control_end) == (0.1, 0.9)
    assert map_.tobytes() == Image.open(condition).convert("RGB").tobytes()
    assert seed == 9 and words.startswith("**Done in 2.5 s**") and "seed 9" in words and "step 400" in words
    for arm, picture in (("baseline", left), ("lisa", right)):
        with Image.open(picture) as image:
            assert image.format == "PNG" and json.loads(image.text["lisa"])["arms"] == arm
            assert lab.settings_of(Path(picture)).seed == 9


def test_a_random_seed_is_reported_back(client, lab, condition):
    *_, seed = generate(client, condition, random_seed=True)
    assert lab.asked[-1][0].seed == seed


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("steps", 5000, "Sampling steps is 5000"),
        ("steps", 3.5, "Sampling steps is 3.5"),
        ("steps", None, "Sampling steps is empty: give a whole number, 1..1000 steps."),
        ("steps", True, "Sampling steps is True"),
        ("steps", "many", "Sampling steps is 'many'"),
        ("guidance", -1, "Guidance is -1"),
        ("seed", -1, "Seed is -1"),
        ("seed", 2**32, "Seed is 4294967296"),
        ("strength", [1], "Control strength is [1]"),
        ("prompt", "a\0b", "NUL"),
        ("family", ["scenes-unet"], "Family takes one name, not list"),
        ("run", ["runs/trial"], "Pair takes one name, not list"),
        ("run", "../../etc", "'../../etc'"),
        ("run", None, "No pair of checkpoints is chosen"),
        ("checkpoint", "latest", "must look like step-000200"),
        ("left_arm", {"a": 1}, "Network on the left takes one name, not dict"),
        ("left_arm", "a/b", "must be different names joined by commas"),
    ],
)
def test_a_wrong_setting_is_one_sentence_and_reaches_no_model(client, lab, condition, field, value, told):
    assert told in failure(generate, client, condition, **{field: value})
    assert not lab.asked


def test_whether_the_seed_is_new_is_true_or_false(client, lab, condition):
    assert "must be true or false" in failure(generate, client, condition, random_seed="yes")
    assert not lab.asked


@pytest.mark.parametrize(("endpoint", "run"), [("train_status", None), ("evaluation", 3), ("train_status", "runs/no")])
def test_a_run_that_is_none_is_told(client, endpoint, run):
    assert "There is no run" in failure(client.predict, run=run, api_name=f"/{endpoint}")


def test_not_a_number_is_refused(client, lab, condition):
    # JSON proper cannot say NaN; what Python's client sends is refused on the way or by the form.
    with pytest.raises((AppError, ValueError)):
        generate(client, condition, strength=math.nan)
    assert not lab.asked


def test_control_that_does_not_start_before_it_ends_is_refused(client, lab, condition):
    for start, end in ((0.9, 0.1), (0.5, 0.5), (1, 1)):
        told = failure(generate, client, condition, control_start=start, control_end=end)
        assert told.startswith(f"Control start is {start}, but must be below control end, which is {end}:")


def test_a_missing_condition_is_refused(client):
    with pytest.raises(AppError, match="There is no condition yet"):
        client.predict(**GENERATE, api_name="/generate")


def test_the_labs_own_sentences_pass_and_raw_exceptions_do_not(client, lab, condition, caplog):
    lab.failure = LisaError("The side network is of another family: choose one that fits.")
    assert failure(generate, client, condition) == "The side network is of another family: choose one that fits."
    lab.failure = RuntimeError("mat1 and mat2 in /secret/path")
    assert failure(generate, client, condition) == UNFORESEEN
    assert "mat1 and mat2" in caplog.text
    generate(client, condition)  # the app goes on


BAD_FILES = {
    "text.png": (b"this is not an image", "cannot be read as an image"),
    "empty.png": (b"", "cannot be read as an image"),
    "script.svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "cannot be read as an image"),
    "cut.png": (png_of(64, 64)[:45], "cannot be read as an image"),
    "bomb.png": (png_of(10_000, 9_000), "90 million pixels"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_is_one_sentence(client, tmp_path, name):
    data, told = BAD_FILES[name]
    (tmp_path / name).write_bytes(data)
    assert told in failure(annotate, client, tmp_path / name)


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_is_no_matter_where_it_is_not_asked_for(client, tmp_path, name):
    (tmp_path / name).write_bytes(BAD_FILES[name][0])
    _, words, *_ = annotate(client, tmp_path / name, source="scene", annotator="canny")
    assert words == "Canny map of 128 x 128 pixels."


def write_picture(path: Path, kind: str) -> tuple[int, int]:
    """Write an unusual picture and tell the size its map must have."""
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 4), dtype=np.uint8)
    if kind == "alpha":
        Image.fromarray(noise, "RGBA").save(path)
    elif kind == "deep":
        Image.fromarray(noise[..., 0].astype(np.uint16) * 257).save(path)
    elif kind == "turned":
        exif = Image.Exif()
        exif[0x0112] = 6  # the camera was held upright
        Image.fromarray(noise[..., :3]).save(path, exif=exif)
        return 40, 60
    elif kind == "animated":
        frames = [Image.fromarray(noise[..., i]) for i in range(3)]
        frames[0].save(path, save_all=True, append_images=frames[1:])
    else:
        Image.new("RGB", (1, 1), "red").save(path)
        return 1, 1
    return 60, 40


@pytest.mark.parametrize(
    ("kind", "name"),
    [("alpha", "a.png"), ("deep", "d.png"), ("turned", "t.jpg"), ("animated", "m.gif"), ("dot", "1.png")],
)
def test_unusual_pictures_become_maps_of_their_size(client, tmp_path, kind, name):
    size = write_picture(tmp_path / name, kind)
    map_, *_ = annotate(client, tmp_path / name, annotator="identity")
    with Image.open(map_) as image:
        assert image.size == size and image.mode == "RGB"


def test_knobs_reach_the_annotator(client, lab, tmp_path):
    lab.render_scene(6).image.save(tmp_path / "scene.png")
    knobs = {"low_threshold": 20, "high_threshold": 40}
    map_, words, *_ = annotate(client, tmp_path / "scene.png", annotator="canny", knobs=knobs)
    with Image.open(map_) as image:
        assert image.convert("RGB").tobytes() == lab.annotate(lab.render_scene(6).image, "canny", knobs).tobytes()
    assert words == "Canny map of 128 x 128 pixels."


def test_exact_maps_of_a_scene_are_its_own(client, lab):
    map_, *_ = annotate(client, None, source="scene", scene=11, annotator="exact:depth")
    with Image.open(map_) as image:
        assert image.convert("RGB").tobytes() == lab.render_scene(11).maps["depth"].tobytes()


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"source": "draw"}, "The drawing is empty"),
        ({"source": "scene", "scene": -3}, "Scene is -3"),
        ({"source": "scene", "scene": None}, "Scene is empty"),
        ({"source": "scene", "annotator": "exact:smell"}, "no exact map 'smell'"),
        ({"source": "upload"}, "There is no picture yet"),
        ({"source": "scene", "annotator": "cany"}, "did you mean canny"),
        ({"source": "scene", "annotator": ["canny", "blur"]}, "2. Annotator takes one name, not list"),
        ({"source": "scene", "annotator": "canny", "knobs": {"low": 1}}, "low"),
        ({"source": "scene", "annotator": "canny", "knobs": {"low_threshold": 999}}, "low_threshold is 999"),
        ({"source": "scene", "annotator": "canny", "knobs": [1, 2]}, "table of names and values"),
        ({"source": "scene", "annotator": "dwpose"}, "mmcv"),
        ({"source": "scene", "annotator": None}, "No annotator is chosen"),
        ({"source": "x"}, "The source is 'x': choose scene, upload or draw."),
        ({"source": ["scene"]}, "choose scene, upload or draw."),
        ({"source": None}, "choose scene, upload or draw."),
        ({"source": "scene", "scene": "three"}, "Scene is 'three'"),
        ({"source": "scene", "knobs": "text"}, "table of names and values"),
        ({"source": "scene", "knobs": []}, "table of names and values"),
        ({"source": "scene", "knobs": {"blur": [1]}}, "blur is [1]"),
        ({"source": "scene", "annotator": "exact:depth", "knobs": 5}, "table of names and values"),
        ({"source": "scene", "moving": "x"}, "Moving is 'x'"),
        ({"source": "scene", "annotator": "hed", "weights": "a\0b"}, "Weights is"),
        ({"source": "upload", "upload": "text"}, "This is no image file"),
        ({"source": "upload", "upload": {"url": "x"}}, "This is no image file"),
        ({"source": "draw", "drawing": "text"}, "The drawing is empty"),
        ({"source": "draw", "drawing": {"layers": 5}}, "The drawing is empty"),
        ({"source": "scene", "annotator": "canny", "weights": "../../etc"}, "no weights to load"),
    ],
)
def test_a_wrong_annotation_is_one_sentence(client, values, told):
    assert told in failure(annotate, client, None, **values)


def test_private_folders_are_not_served(client):
    import httpx

    for path in (".git/HEAD", "checkpoints/x", "pyproject.toml"):
        full = Path(__file__).resolve().parents[2] / path
        assert httpx.get(f"{client.src}gradio_api/file={full}").status_code in (403, 404)


def test_only_this_computers_names_are_answered(client):
    import httpx

    assert httpx.get(f"{client.src}config").status_code == 200
    assert httpx.get(f"{client.src}config", headers={"Host": "evil.example"}).status_code == 400


@pytest.mark.parametrize(
    ("address", "share", "environment", "guarded"),
    [
        (None, None, {}, True),
        ("0.0.0.0", None, {}, False),
        (None, True, {}, False),
        (None, None, {"SPACE_ID": "a/b"}, False),
        (None, None, {"GRADIO_SERVER_NAME": "10.0.0.1"}, False),
    ],
)
def test_the_guard_steps_back_where_others_are_meant_to_ask(monkeypatch, address, share, environment, guarded):
    for name in ("SPACE_ID", "GRADIO_SERVER_NAME", "GRADIO_SHARE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert bool(host_guard(address, share)) == guarded
