"""The report on training data: what is counted, what is faulty, and why nothing can start."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
from PIL import Image

from lisa.data.check import DataReport, check_data, trainable_conditions
from lisa.errors import LisaError
from lisa.scenes.pool import _shard_folder


@pytest.fixture
def folder(tmp_path):
    """Twenty described pictures: half with a caption, five with a depth map; some are faulty."""
    for i in range(20):
        Image.new("RGB", (64 + i, 80), (i * 10, 0, 0)).save(tmp_path / f"{i:02d}.png")
    rows = [{"file_name": f"{i:02d}.png"} for i in range(20)]
    for row in rows[:10]:
        row["text"] = "a cube"
    for row in rows[:5]:
        row["depth_file_name"] = "19.png"
    (tmp_path / "02.png").write_bytes((tmp_path / "02.png").read_bytes()[:60])
    (tmp_path / "03.png").write_bytes(b"no image")
    rows[4]["depth_file_name"] = "../secret.png"
    rows[11]["file_name"] = "gone.png"
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path


def test_rows_are_counted_and_faulty_ones_named(folder):
    report = check_data(str(folder), "canny", samples=100, resolution=70)
    assert (report.rows, report.train_rows, report.held_out_rows) == (20, 18, 2)
    assert (report.captioned, report.brought, report.annotator, report.problem) == (10, 0, "canny", "")
    assert report.smallest == (64, 80) and report.small == 4  # 64, 65, 68, 69: 66 and 67 cannot be read
    assert report.looked_at == 20 and report.faulty_rows == 3
    reasons = dict(report.faulty)
    assert set(reasons) == {"02.png", "03.png", "gone.png"}
    assert "no file 'gone.png'" in reasons["gone.png"] and "cannot be read" in reasons["02.png"]
    assert DataReport.from_dict(json.loads(json.dumps(asdict(report)))) == report


def test_maps_that_rows_bring_are_opened_too(folder):
    report = check_data(str(folder), "depth", samples=100, resolution=70)
    assert report.brought == 5 and "outside" in dict(report.faulty)["04.png"]
    assert report.faulty_rows == 4


def test_only_the_rows_that_training_takes_are_opened(folder, monkeypatch):
    assert check_data(str(folder), "canny", samples=2, resolution=8).looked_at == 4
    report = check_data(str(folder), "canny", samples=100, resolution=8, look=3)
    assert report.looked_at == 3 and [name for name, _ in report.faulty] == ["02.png"]
    nothing = check_data(str(folder), "canny", samples=0, resolution=0, look=0)
    assert nothing.rows == 20 and nothing.looked_at == 0 and nothing.smallest is None
    monkeypatch.setattr("lisa.data.check._LOOK_SECONDS", -1.0)
    assert check_data(str(folder), "canny", samples=100, resolution=8).looked_at == 0


def test_at_most_ten_faulty_rows_are_named(tmp_path):
    for i in range(30):
        (tmp_path / f"{i:02d}.png").write_bytes(b"no image")
    report = check_data(str(tmp_path), "canny", samples=100, resolution=8)
    assert report.faulty_rows == 30 and len(report.faulty) == 10 and report.smallest is None


def test_what_keeps_training_from_starting_is_told(tmp_path):
    assert "no picture to train on among its 0" in check_data(str(tmp_path), "canny", 10, 8).problem
    for i in range(5):
        Image.new("RGB", (16, 16)).save(tmp_path / f"{i}.png")
    assert "hold out for validation among its 5" in check_data(str(tmp_path), "canny", 10, 8).problem
    for i in range(5, 10):
        Image.new("RGB", (16, 16)).save(tmp_path / f"{i}.png")
    assert check_data(str(tmp_path), "canny", 10, 8).problem == ""
    assert "Unknown condition 'cany'" in check_data(str(tmp_path), "cany", 10, 8).problem
    with pytest.raises(LisaError, match="does not exist"):
        check_data(str(tmp_path / "none"), "canny", 10, 8)


def test_metadata_that_is_no_text_is_told(tmp_path):
    (tmp_path / "metadata.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(LisaError, match="UTF-8"):
        check_data(str(tmp_path), "canny", 10, 8)


def test_scenes_are_reported_as_rendered_on_demand(tmp_path, monkeypatch):
    monkeypatch.setenv("LISA_CACHE", str(tmp_path))
    report = check_data("scenes", "depth", samples=500, resolution=128)
    assert (report.rows, report.brought, report.annotator, report.cached) == (500, 500, "", 0)
    shards = _shard_folder("train", None)
    shards.mkdir(parents=True)
    for name in ("000000000.safetensors", "000000128.safetensors", ".tmp-000000256.safetensors-0"):
        (shards / name).touch()
    assert check_data("scenes", "canny", 500, 128).cached == 256 and check_data("scenes", "pose", 500, 128).cached == 0
    assert check_data("scenes", "canny", 500, 256).small == 500
    assert "Unknown condition" in check_data("scenes", "smell", 500, 128).problem


def test_conditions_come_from_the_registry_the_usual_ones_first():
    names = trainable_conditions()
    assert names[:4] == ("canny", "depth", "segmentation", "pose") and len(set(names)) == len(names)
    assert {"blur", "shuffle"} <= set(names)
