"""Detectors with weights, here random ones in the files that controlnet-aux looks for."""

from __future__ import annotations

import importlib
import pickle
import sys
from unittest.mock import Mock

import pytest
import torch
from huggingface_hub import errors
from PIL import Image

from lisa.annotators import base
from lisa.annotators.base import ANNOTATORS, annotate, availability
from lisa.errors import LisaError

SMALL = {"detect_resolution": 64}
# Annotator, module and class of its network, arguments, file
NETWORKS = [
    ("teed", "controlnet_aux.teed", "TED", (), ["5_model.pth"]),
    ("anyline", "controlnet_aux.teed", "TED", (), ["MTEED.pth"]),
    ("mlsd", "controlnet_aux.mlsd", "MobileV2_MLSD_Large", (), ["mlsd_large_512_fp32.pth"]),
    ("lineart", "controlnet_aux.lineart", "Generator", (3, 1, 3), ["sk_model.pth", "sk_model2.pth"]),
    ("hed", "controlnet_aux.hed", "ControlNetHED_Apache2", (), ["ControlNetHED.pth"]),
]


@pytest.fixture(autouse=True)
def forget_detectors():
    base._loaded.cache_clear()
    yield
    base._loaded.cache_clear()


@pytest.fixture
def image():
    return Image.effect_noise((96, 80), 80).convert("RGB")


@pytest.mark.parametrize(("name", "module", "network", "arguments", "files"), NETWORKS)
def test_a_detector_loads_from_a_folder_and_runs(tmp_path, image, name, module, network, arguments, files):
    make = getattr(importlib.import_module(module), network)
    torch.manual_seed(0)
    assert availability(name, str(tmp_path)) != ""
    for file in files:
        torch.save(make(*arguments).state_dict(), tmp_path / file)
    assert availability(name, str(tmp_path)) == ""
    result = annotate(image, name, SMALL, str(tmp_path))
    assert result.mode == "RGB"
    assert result.size == image.size


def with_weights():
    return [name for name in ANNOTATORS if ANNOTATORS.get(name).default_source]


@pytest.mark.parametrize("name", with_weights())
def test_missing_weights_are_one_sentence(tmp_path, image, name):
    for source in (str(tmp_path), str(tmp_path / "none"), "nobody/nothing"):
        reason = availability(name, source)
        assert reason.endswith(".")
        with pytest.raises(LisaError) as caught:
            annotate(image, name, {}, source)
        assert "\n" not in str(caught.value)
        assert ANNOTATORS.get(name).title in str(caught.value)
    assert "not on this computer" in availability(name)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (errors.LocalEntryNotFoundError("An error happened"), "cannot be downloaded: go online, or name a folder"),
        (ConnectionError("[Errno -2]"), "cannot be downloaded: go online, or name a folder"),
        (errors.RemoteEntryNotFoundError("404", response=Mock()), "The hub shows no 5_model.pth in some/where to you"),
        (errors.RepositoryNotFoundError("401", response=Mock()), "The hub shows no 5_model.pth in some/where to you"),
        (KeyError("layer"), "TEED soft edges cannot use the weights of some/where (it says: 'layer')."),
        (AssertionError(), "TEED soft edges cannot use the weights of some/where."),
    ],
)
def test_a_failed_load_is_told_in_words(monkeypatch, image, error, told):
    import controlnet_aux

    monkeypatch.setattr(controlnet_aux.TEEDdetector, "from_pretrained", Mock(side_effect=error))
    with pytest.raises(LisaError) as caught:
        annotate(image, "teed", SMALL, "some/where")
    assert told in str(caught.value)
    assert "TEED soft edges" in str(caught.value) and type(error).__name__ not in str(caught.value)


def test_packages_and_weights_are_told_apart(tmp_path):
    spec = ANNOTATORS.get("teed")
    assert spec.missing_packages() == "" and "5_model.pth" in spec.missing_weights(str(tmp_path))
    assert ANNOTATORS.get("canny").missing_packages() == ANNOTATORS.get("canny").missing_weights("") == ""
    if reason := ANNOTATORS.get("dwpose").missing_packages():
        assert availability("dwpose") == reason and ANNOTATORS.get("dwpose").missing_weights("") == ""


@pytest.mark.parametrize("name", ["dwpose", "mediapipe-face"])
def test_missing_packages_are_named(image, name):
    if not (reason := availability(name)):
        pytest.skip("its packages are installed here")
    assert "not installed here" in reason
    with pytest.raises(LisaError, match="not installed here"):
        annotate(image, name)


class Bomb:
    def __reduce__(self):
        return (sys.exit, (3,))


@pytest.mark.parametrize("content", [b"", b"not a network", pickle.dumps(Bomb())])
def test_broken_or_hostile_weights_are_refused(tmp_path, image, content):
    (tmp_path / "5_model.pth").write_bytes(content)
    with pytest.raises(LisaError, match="TEED soft edges cannot"):
        annotate(image, "teed", SMALL, str(tmp_path))


def test_weights_of_another_network_are_refused(tmp_path, image):
    torch.save({"layer": torch.zeros(2)}, tmp_path / "5_model.pth")
    with pytest.raises(LisaError, match="TEED soft edges cannot use the weights"):
        annotate(image, "teed", SMALL, str(tmp_path))


def test_a_strip_is_refused_before_it_becomes_a_giant():
    with pytest.raises(LisaError, match=r"512 x 512000 pixels, but the limit is 4096"):
        annotate(Image.new("RGB", (1, 1000)), "shuffle")
