"""Where data come from: folders, zips of every bad kind, and hub data sets without a network."""

from __future__ import annotations

import io
import json
import pickle
import stat
import struct
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image

from lisa.data.hub import write_imagefolder
from lisa.data.imagefolder import read_imagefolder, read_rows
from lisa.data.source import data_folder, resolve_data
from lisa.errors import LisaError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LISA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "data"


def picture(number=0, size=(20, 16), kind="PNG") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (number, 100, 200)).save(file, kind)
    return file.getvalue()


def zipped(path, entries):
    """Write a zip; a name may be a ready ZipInfo."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def refused(path, told) -> str:
    """The sentence with which a zip is refused; nothing of it may be left behind."""
    with pytest.raises(LisaError, match=told) as caught:
        resolve_data(str(path))
    assert not list(data_folder().rglob("*"))
    return str(caught.value)


def test_a_folder_is_taken_as_it_is_even_where_a_hub_id_would_fit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner" / "name").mkdir(parents=True)
    assert resolve_data("owner/name").samefile(tmp_path / "owner" / "name")


@pytest.mark.parametrize("top", ["", "photos/", "a/b/"])
def test_a_zip_becomes_a_folder_once_without_the_folders_around_it(tmp_path, cache, top):
    rows = [{"file_name": f"images/{i}.png", "text": f"picture {i}", "depth_file_name": "d.PNG"} for i in range(3)]
    entries = {f"{top}images/{i}.png": picture(i) for i in range(3)}
    entries |= {f"{top}metadata.jsonl": "\n".join(map(json.dumps, rows)), f"{top}d.PNG": picture(9)}
    path = zipped(tmp_path / "set.zip", entries)
    folder = resolve_data(str(path))
    read = read_rows(folder)
    assert [row.caption for row in read] == ["picture 0", "picture 1", "picture 2"]
    assert read[2].load_image().getpixel((0, 0)) == (2, 100, 200) and read[0].load_condition("depth") is not None
    before = (folder / "d.PNG").stat().st_ino
    assert resolve_data(str(path)) == folder and (folder / "d.PNG").stat().st_ino == before
    assert [each.name for each in cache.iterdir()] == [folder.name]


def test_only_images_and_the_metadata_are_unpacked(tmp_path):
    entries = {"0.png": picture(), "1.png": b"not an image", "model.pkl": pickle.dumps([1]), "run.py": "print()"}
    entries |= {"__MACOSX/._0.png": b"x", ".hidden/a.png": picture(), "sub/inner.zip": b"PK", "notes.txt": "text"}
    folder = resolve_data(str(zipped(tmp_path / "mixed.zip", entries)))
    assert sorted(path.name for path in folder.rglob("*")) == ["0.png", "1.png"]


def test_windows_separators_become_folders(tmp_path):
    folder = resolve_data(str(zipped(tmp_path / "w.zip", {"set\\a.png": picture(), "set\\b.png": picture()})))
    assert sorted(path.name for path in folder.iterdir()) == ["a.png", "b.png"]


@pytest.mark.parametrize(
    "name",
    ["../out.png", "a/../../out.png", "/etc/out.png", "..\\out.png", "C:\\out.png", "C:out.png", "\\\\host\\x.png"],
)
def test_a_name_that_leads_out_is_refused(tmp_path, name):
    refused(zipped(tmp_path / "bad.zip", {"ok.png": picture(), name: picture()}), "leads out of its folder")
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices_are_refused(tmp_path, kind):
    link = zipfile.ZipInfo("link.png")
    link.external_attr = (kind | 0o777) << 16
    refused(zipped(tmp_path / "link.zip", {"ok.png": picture(), link: "/etc/passwd"}), "is a link or device")


def test_an_encrypted_entry_is_refused(tmp_path):
    path = zipped(tmp_path / "locked.zip", {"a.png": picture()})
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1
    path.write_bytes(content)
    refused(path, "'a.png', which is encrypted")


def test_a_bomb_is_refused_by_the_sizes_that_it_declares(tmp_path):
    path = zipped(tmp_path / "bomb.zip", {"a.png": picture()})
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, content.index(b"PK\x01\x02") + 24, 4_294_967_294)
    path.write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lisa.data.source.MAX_BYTES", 2**32 - 3)
        refused(path, "unpacks to 4.3 GB, but the limit is 4.3 GB")


def test_a_bomb_that_lies_about_its_size_is_cut_and_refused(tmp_path):
    path = zipped(tmp_path / "liar.zip", {"a.bmp": bytes(10_000_000)})
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, content.index(b"PK\x01\x02") + 24, 100)
    path.write_bytes(content)
    refused(path, "liar.zip cannot be unpacked")


def test_too_many_entries_and_too_little_room_are_refused(tmp_path, monkeypatch):
    path = zipped(tmp_path / "many.zip", {f"{i}.png": picture() for i in range(4)})
    monkeypatch.setattr("lisa.data.source.MAX_ENTRIES", 3)
    refused(path, "has 4 entries, but the limit is 3")
    monkeypatch.setattr("lisa.data.source.MAX_ENTRIES", 4)
    usage = type("Usage", (), {"free": 10})
    monkeypatch.setattr("lisa.unzip.shutil.disk_usage", lambda folder: usage)
    refused(path, "but only 0.0 GB are free")


@pytest.mark.parametrize("entries", [{}, {"notes.txt": "no picture"}, {"metadata.jsonl": "{}"}, {"a.pkl": b"x"}])
def test_a_zip_without_images_is_refused(tmp_path, entries):
    refused(zipped(tmp_path / "empty.zip", entries), "holds no image")


def test_a_file_where_a_folder_must_be_is_refused(tmp_path):
    refused(zipped(tmp_path / "odd.zip", {"a.png": picture(), "a.png/b.png": picture()}), "cannot be unpacked")


def test_damaged_zips_are_one_sentence(tmp_path):
    """Cut anywhere, or with any bytes wrong: unpacked whole or refused, never another error, nothing left behind."""
    path = zipped(tmp_path / "good.zip", {f"{i}.png": picture(i) for i in range(4)})
    good, rng = path.read_bytes(), np.random.default_rng(0)
    damaged = [good[:cut] for cut in range(0, len(good), 61)]
    for _ in range(150):
        content = bytearray(good)
        for place in rng.integers(len(good), size=3):
            content[place] = rng.integers(256)
        damaged.append(bytes(content))
    told = []
    for content in damaged:
        path.write_bytes(content)
        try:
            assert list(resolve_data(str(path)).iterdir())
        except LisaError as error:
            told.append(str(error))
        assert not list(data_folder().glob(".tmp-*"))
    assert len(told) > len(range(0, len(good), 61))
    assert all(words.startswith("good.zip") and "\n" not in words for words in told)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ("nowhere", "does not exist here"),
        ("a/b/c", "does not exist here"),
        ("x" * 5000, "does not exist"),
        ("../x", "exist"),
    ],
)
def test_what_is_nowhere_is_told(data, told):
    with pytest.raises(LisaError, match=told):
        resolve_data(data)


def test_a_file_that_is_no_zip_is_told(tmp_path):
    (tmp_path / "a.png").write_bytes(picture())
    with pytest.raises(LisaError, match="neither a folder nor"):
        resolve_data(str(tmp_path / "a.png"))
    (tmp_path / "a.zip").write_bytes(picture())
    refused(tmp_path / "a.zip", "File is not a zip file")


def test_without_the_package_a_hub_data_set_asks_for_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(LisaError, match="pip install datasets"):
        resolve_data("owner/name")


@pytest.fixture
def hub(monkeypatch):
    """Data sets by id, as the hub would hold them."""
    datasets = pytest.importorskip("datasets")
    known, asked = {}, []

    def load(name, revision=None):
        asked.append((name, revision))
        return known[name]

    monkeypatch.setattr(datasets, "load_dataset", load)
    return datasets, known, asked


def split_of(datasets, pictures, **columns):
    features = {name: datasets.Image() for name in pictures}
    features |= {name: datasets.Features({name: kind})[name] for name, (kind, _) in columns.items()}
    values = {name: [{"bytes": content, "path": None} if content else None for content in each]
              for name, each in pictures.items()}  # fmt: skip
    return datasets.Dataset.from_dict(
        {**values, **{name: each for name, (_, each) in columns.items()}}, features=datasets.Features(features)
    )


def test_a_hub_data_set_becomes_an_imagefolder_once(hub):
    datasets, known, asked = hub
    text = datasets.Value("string")
    jpeg = picture(3, kind="JPEG")
    train = split_of(
        datasets, {"depth": [picture(1), None, picture(5)], "image": [picture(2), jpeg, None]},
        caption=(text, ["a cube", "a cone", "no picture"]),
    )  # fmt: skip
    held_out = split_of(datasets, {"depth": [None], "image": [picture(4, kind="GIF")]}, caption=(text, [None]))
    known["owner/name"] = datasets.DatasetDict({"train": train, "val": held_out})
    folder = resolve_data("owner/name@v1")
    assert resolve_data("owner/name@v1") == folder and asked == [("owner/name", "v1")]
    first, second = read_imagefolder(folder, "train")
    assert (first.caption, second.caption) == ("a cube", "a cone")
    assert first.load_condition("depth").getpixel((0, 0)) == (1, 100, 200) and second.load_condition("depth") is None
    assert (folder / second.name).read_bytes() == jpeg and second.name.endswith(".jpg")
    for split in ("validation", "test"):  # the one held-out split serves as both
        (row,) = read_imagefolder(folder, split)
        assert row.caption == "" and row.name.endswith(".png") and row.load_image().size == (20, 16)
    assert resolve_data("owner/name") != folder


def test_a_single_split_of_a_hub_data_set_is_divided(hub):
    datasets, known, _ = hub
    words = datasets.List(datasets.Value("string"))
    rows = split_of(datasets, {"photo": [picture(i) for i in range(10)]}, text=(words, [["one", "two"]] * 9 + [[]]))
    known["owner/photos"] = datasets.DatasetDict({"train": rows})
    folder = resolve_data("owner/photos")
    assert len(read_imagefolder(folder, "train")) == 9 and len(read_imagefolder(folder, "test")) == 1
    assert [row.caption for row in read_rows(folder)] == ["one"] * 9 + [""]


def test_hub_data_that_cannot_be_used_are_one_sentence(hub, cache, tmp_path):
    datasets, known, _ = hub
    known["owner/text"] = datasets.DatasetDict({"train": datasets.Dataset.from_dict({"text": ["a"]})})
    with pytest.raises(LisaError, match="no column of images, but text"):
        resolve_data("owner/text")
    with pytest.raises(LisaError, match="cannot be loaded"):
        resolve_data("owner/none")
    rows = split_of(datasets, {"image": [picture(0), picture(1)]})
    with pytest.raises(LisaError, match="more than"):
        write_imagefolder({"train": rows}, tmp_path, "owner/big", most=len(picture(0)) + 1)
    assert not list(cache.glob("*"))
