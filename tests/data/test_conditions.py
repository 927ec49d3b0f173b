"""Condition maps made by annotators: those with weights are made once for a picture."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import ImageOps

from lisa.annotators import base
from lisa.annotators.base import ANNOTATORS, AnnotatorSpec
from lisa.data.conditions import annotated
from lisa.errors import LisaError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LISA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "conditions"


@pytest.fixture
def detector(monkeypatch):
    """An annotator with weights that inverts a picture; what it was shown, and the failures it has in store."""
    shown, failures = [], []

    def invert(image):
        if failures:
            raise failures.pop()
        shown.append(np.asarray(image))
        return ImageOps.invert(image)

    spec = AnnotatorSpec("negative", "Negative", "negative", "", lambda source: invert, default_source="own/weights")
    monkeypatch.setitem(ANNOTATORS._entries, "negative", spec)
    base._loaded.cache_clear()  # of the detector of another test
    return shown, failures


def pictures(count: int) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (count, 8, 12, 3), dtype=np.uint8))


def test_a_map_is_made_once_and_read_afterwards(detector, cache):
    shown, _ = detector
    images, told = pictures(3), []
    first = annotated(images, "negative", lambda *each: told.append(each))
    again = annotated(images[::-1], "negative")
    for image, ours, theirs in zip(images, first, again[::-1], strict=True):
        np.testing.assert_array_equal(ours, 255 - image)
        np.testing.assert_array_equal(theirs, ours)
    assert len(shown) == 3 == len(list(cache.iterdir()))
    assert told == [("making condition maps", n, 3) for n in (1, 2, 3)]


def test_what_was_cut_short_goes_on_where_it_stopped(detector):
    shown, failures = detector
    annotated(pictures(2), "negative")
    failures.append(LisaError("out of memory"))
    with pytest.raises(LisaError):
        annotated(pictures(4), "negative")
    annotated(pictures(4), "negative")
    assert len(shown) == 4


def test_every_frame_of_a_clip_has_its_own_map(detector):
    clip = np.stack(pictures(3))
    np.testing.assert_array_equal(annotated([clip], "negative")[0], 255 - clip)


def test_what_needs_no_weights_is_not_kept(cache):
    assert annotated(pictures(1), "canny")[0].shape == (8, 12, 3)
    assert not cache.exists()
