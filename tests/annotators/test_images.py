from __future__ import annotations

import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lisa.annotators.images import FORMATS, load_rgb
from lisa.errors import LisaError


def saved(tmp_path, image, name="image.png", **options):
    path = tmp_path / name
    image.save(path, **options)
    return path


def header_only_png(width, height):
    """A PNG that claims a size and holds no pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = b""
    for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")):
        chunks += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return b"\x89PNG\r\n\x1a\n" + chunks


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "CMYK", "YCbCr", "HSV", "I", "I;16", "F"]
)
def test_every_mode_becomes_rgb_of_the_same_size(mode):
    image = load_rgb(Image.new(mode, (5, 3)))
    assert image.mode == "RGB"
    assert image.size == (5, 3)


def test_16_bit_depth_is_scaled_and_not_clipped(tmp_path):
    depth = np.array([[0, 257 * 10], [257 * 100, 65535]], dtype=np.uint16)
    path = saved(tmp_path, Image.fromarray(depth))
    assert np.asarray(load_rgb(path))[..., 0].tolist() == [[0, 10], [100, 255]]


def test_float_depth_is_scaled_by_its_maximum_and_nan_is_black(tmp_path):
    depth = np.array([[0.0, 2.0], [np.nan, 4.0]], dtype=np.float32)
    path = saved(tmp_path, Image.fromarray(depth), "depth.tiff")
    assert np.asarray(load_rgb(path))[..., 1].tolist() == [[0, 128], [0, 255]]
    assert np.asarray(load_rgb(Image.new("F", (1, 1), float("nan")))).max() == 0


def test_large_and_negative_integers_keep_their_order(tmp_path):
    depth = np.array([[-100_000, 0, 100_000]], dtype=np.int32)
    assert np.asarray(load_rgb(Image.fromarray(depth)))[0, :, 0].tolist() == [0, 128, 255]


def test_transparency_lies_on_white(tmp_path):
    image = Image.new("RGBA", (2, 1), (255, 0, 0, 0))
    image.putpixel((1, 0), (255, 0, 0, 255))
    assert list(load_rgb(saved(tmp_path, image)).get_flattened_data()) == [(255, 255, 255), (255, 0, 0)]
    palette = Image.new("P", (1, 1), 0)
    path = saved(tmp_path, palette, "palette.png", transparency=0)
    assert load_rgb(path).getpixel((0, 0)) == (255, 255, 255)


def test_exif_rotation_is_applied(tmp_path):
    image = Image.new("RGB", (4, 2))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    assert load_rgb(saved(tmp_path, image, "a.jpg", exif=exif)).size == (2, 4)


def test_an_animation_gives_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (3, 3), colour) for colour in ("red", "blue")]
    path = saved(tmp_path, frames[0], "a.gif", save_all=True, append_images=frames[1:])
    assert load_rgb(path).getpixel((0, 0)) == (255, 0, 0)
    with Image.open(path) as image:
        image.seek(1)
        assert load_rgb(image).getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(("width", "height", "seen"), [(9000, 10_000, "90 million"), (60_000, 60_000, "far more")])
def test_a_giant_is_refused_from_its_header(tmp_path, width, height, seen):
    path = tmp_path / "giant.png"
    path.write_bytes(header_only_png(width, height))
    with pytest.raises(LisaError, match=f"'giant.png' has {seen}.* the limit is 40 million"):
        load_rgb(path)


def test_an_opened_image_with_half_its_data_is_refused(tmp_path):
    path = saved(tmp_path, Image.effect_noise((64, 64), 90))
    path.write_bytes(path.read_bytes()[:1000])
    with Image.open(path) as image, pytest.raises(LisaError, match="The image cannot be read"):
        load_rgb(image)


def test_what_is_no_image_is_one_sentence(tmp_path):
    path = tmp_path / "notes.png"
    for content in (b"", b"hello", b"\x89PNG\r\n\x1a\n", b"<svg/>", header_only_png(4, 4)):
        path.write_bytes(content)
        with pytest.raises(LisaError) as caught:
            load_rgb(path)
        assert str(caught.value) == "'notes.png' cannot be read as an image: use PNG, JPEG or WebP."
    with pytest.raises(LisaError, match=r"no file 'none\.png'"):
        load_rgb(tmp_path / "none.png")
    with pytest.raises(LisaError, match="cannot be read"):
        load_rgb(tmp_path)


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=60, deadline=None)
@given(st.sampled_from(FORMATS), st.integers(0, 2**32), st.integers(1, 8))
def test_a_damaged_file_is_read_or_refused(tmp_path_factory, kind, seed, flips):
    noise = np.random.default_rng(seed)
    buffer = io.BytesIO()
    Image.fromarray(noise.integers(0, 256, (12, 9, 3), dtype=np.uint8)).save(buffer, kind)
    data = bytearray(buffer.getvalue())
    for position in noise.integers(0, len(data), flips):
        data[position] = noise.integers(0, 256)
    path = tmp_path_factory.mktemp("fuzz") / "image"
    path.write_bytes(data[: noise.integers(1, len(data) + 1)])
    with contextlib.suppress(LisaError):
        assert load_rgb(path).mode == "RGB"
