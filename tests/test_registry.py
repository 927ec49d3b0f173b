from __future__ import annotations

import sys

import pytest

from lisa.errors import LisaError
from lisa.registry import Registry


def test_entries_come_back_in_the_order_of_their_names():
    registry = Registry("colour")
    registry.add("red", 1)
    registry.add("blue", 2)
    assert registry.names() == ("blue", "red")
    assert list(registry) == ["blue", "red"]
    assert registry.values() == (2, 1)
    assert "red" in registry
    assert "green" not in registry
    assert len(registry) == 2


def test_register_returns_what_it_decorates():
    registry = Registry("verb")

    @registry.register("twice")
    def twice(x):
        return 2 * x

    assert registry.get("twice") is twice
    assert twice(2) == 4


def test_a_duplicate_is_refused_and_the_first_stays():
    registry = Registry("colour")
    registry.add("red", 1)
    with pytest.raises(LisaError, match="two entries for colour 'red'"):
        registry.add("red", 2)
    assert registry.get("red") == 1


def test_an_unknown_name_lists_the_near_and_all_names():
    registry = Registry("annotator")
    for name in ("canny", "depth"):
        registry.add(name, name)
    with pytest.raises(LisaError) as caught:
        registry.get("cany")
    assert str(caught.value) == "Unknown annotator 'cany': did you mean canny? Use one of canny, depth."


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = tmp_path / "discovered_room"
    folder.mkdir()
    (folder / "__init__.py").write_text("from lisa.registry import Registry\nTHINGS = Registry('thing', __name__)\n")
    (folder / "one.py").write_text("from discovered_room import THINGS\nTHINGS.add('one', 1)\n")
    (folder / "_hidden.py").write_text("raise RuntimeError('must not be imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    for name in [name for name in sys.modules if name.startswith("discovered_room")]:
        del sys.modules[name]


def test_a_file_in_the_package_is_an_entry(package):
    from discovered_room import THINGS

    assert "discovered_room.one" not in sys.modules
    assert THINGS.names() == ("one",)
    assert THINGS.get("one") == 1


def test_a_broken_entry_is_reported_at_every_look_up(package):
    (package / "two.py").write_text("import no_such_module_at_all\n")
    from discovered_room import THINGS

    for _ in range(2):
        with pytest.raises(ModuleNotFoundError):
            THINGS.names()
