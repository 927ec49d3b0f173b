"""Data folders: described, plain, split and broken."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from lisa.data.imagefolder import read_imagefolder
from lisa.errors import LisaError


@pytest.fixture
def folder(tmp_path):
    for i in range(20):
        Image.new("RGB", (16, 16), (i * 10, 0, 0)).save(tmp_path / f"{i:02d}.png")
    return tmp_path


def test_a_plain_folder_holds_out_every_tenth_image(folder):
    train, validation = read_imagefolder(folder, "train"), read_imagefolder(folder, "validation")
    assert [row.name for row in validation] == ["09.png", "19.png"]
    assert len(train) == 18 and not {row.name for row in train} & {row.name for row in validation}


def test_metadata_gives_captions_conditions_and_splits(folder):
    rows = [
        {"file_name": "00.png", "text": "a red cube", "depth_file_name": "01.png", "split": "train"},
        {"file_name": "02.png", "caption": "a cone", "canny": "03.png", "split": "validation"},
    ]
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (train,), (validation,) = read_imagefolder(folder, "train"), read_imagefolder(folder, "validation")
    assert train.caption == "a red cube" and train.load_condition("depth").getpixel((0, 0)) == (10, 0, 0)
    assert validation.load_condition("canny") is not None and validation.load_condition("depth") is None


@pytest.mark.parametrize("line", ["not json", "[1]", '{"text": "no file"}'])
def test_a_faulty_row_is_named(folder, line):
    (folder / "metadata.jsonl").write_text(json.dumps({"file_name": "00.png"}) + "\n" + line)
    with pytest.raises(LisaError, match="line 2"):
        read_imagefolder(folder, "train")


def test_a_missing_folder_and_a_broken_image_are_one_sentence(folder):
    with pytest.raises(LisaError, match="does not exist"):
        read_imagefolder(folder / "nowhere", "train")
    (folder / "00.png").write_bytes(b"no image")
    with pytest.raises(LisaError, match=r"00\.png"):
        read_imagefolder(folder, "train")[0].load_image()
