"""Unpacking what somebody else packed: only what is wanted, only inside the folder, only within limits."""

from __future__ import annotations

import stat
import zipfile

import pytest

from lisa.errors import LisaError
from lisa.unzip import unzip


@pytest.fixture
def path(tmp_path):
    return tmp_path / "given.zip"


def pack(path, entries):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            archive.writestr(name, content)


def link(name, target="/etc/passwd"):
    entry = zipfile.ZipInfo(name)
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return entry, target


def unpack(path, keep=lambda name: True, limit_bytes=1000, limit_entries=10):
    target = path.parent / "out"
    unzip(path, target, keep, limit_bytes, limit_entries)
    return sorted(each.relative_to(target).as_posix() for each in target.rglob("*") if each.is_file())


def test_only_the_wanted_files_are_written(path):
    pack(path, [("a/x.json", "{}"), ("a/run.py", "boom"), ("b/", ""), ("c\\y.json", "[]")])
    asked = []
    assert unpack(path, lambda name: asked.append(name) or name.endswith(".json")) == ["a/x.json", "c/y.json"]
    assert asked == ["a/x.json", "a/run.py", "c/y.json"]
    assert (path.parent / "out" / "a" / "x.json").read_text() == "{}"


@pytest.mark.parametrize(
    ("entry", "fault"),
    [
        (("../up.json", "x"), "leads out of its folder"),
        (("a/../../up.json", "x"), "leads out of its folder"),
        (("/etc/cron.d/x", "x"), "leads out of its folder"),
        (("C:\\windows\\x", "x"), "leads out of its folder"),
        (("..\\up.json", "x"), "leads out of its folder"),
        (link("a/link.json"), "is a link or device"),
    ],
)
def test_an_unsafe_entry_keeps_everything_out(path, entry, fault):
    pack(path, [("first.json", "{}"), entry])
    with pytest.raises(LisaError, match=fault):
        unpack(path, lambda name: name == "first.json")
    assert not list((path.parent / "out").rglob("*"))
    assert sorted(each.name for each in path.parent.iterdir()) == ["given.zip", "out"]


def test_an_encrypted_entry_is_refused(path):
    pack(path, [("a.json", "{}")])
    content = bytearray(path.read_bytes())
    central = content.index(b"PK\x01\x02")
    content[central + 8] |= 1  # the flag in the zip's directory
    path.write_bytes(content)
    with pytest.raises(LisaError, match="is encrypted"):
        unpack(path)


def test_limits_count_what_is_kept_and_all_entries(path):
    pack(path, [("big.bin", b"0" * 5000), ("small.json", b"1" * 900)])
    assert unpack(path, lambda name: name.endswith(".json")) == ["small.json"]
    with pytest.raises(LisaError, match=r"unpacks to 0.0 GB, but the limit is 0.0 GB"):
        unpack(path)
    with pytest.raises(LisaError, match="2 entries, but the limit is 1"):
        unpack(path, limit_entries=1)


@pytest.mark.parametrize("content", [b"", b"no zip at all", None])
def test_damage_is_one_sentence(path, content):
    pack(path, [("a.json", bytes(range(256)) * 3)])
    whole = path.read_bytes()
    path.write_bytes(whole[:60] + b"\xff" * 8 + whole[68:] if content is None else content)
    with pytest.raises(LisaError, match=r"given.zip cannot be unpacked \(.+\): make the zip again") as caught:
        unpack(path)
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_comes_twice_is_damage(path):
    pack(path, [("a.json", "1"), ("a.json", "2")])
    with pytest.raises(LisaError, match="cannot be unpacked"):
        unpack(path)
