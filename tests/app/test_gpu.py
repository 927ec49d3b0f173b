"""Work on networks goes through ZeroGPU's decorator where there is one, with what can travel between processes."""

from __future__ import annotations

import pickle
import sys
from types import SimpleNamespace

import pytest

from app import gpu
from app.build import build
from lisa.errors import LisaError
from lisa.rundesk import RunDesk
from lisa.settings import GenerateSettings, TrainSettings
from lisa.zero_gpu import NO_TRAINING
from tests.app.fake_lab import FakeLab


@pytest.fixture
def space(monkeypatch):
    """A ZeroGPU Space whose decorator copies arguments and results as its worker process would."""
    asked = []

    def lend(function, duration):
        def call(*args, **kwargs):
            asked.append((function.__name__, duration))
            args, kwargs = pickle.loads(pickle.dumps((args, kwargs)))
            return pickle.loads(pickle.dumps(function(*args, **kwargs)))

        return call

    monkeypatch.setitem(sys.modules, "spaces", SimpleNamespace(GPU=lend))
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    return asked


def test_a_lab_elsewhere_stays_as_it_is(monkeypatch):
    monkeypatch.delenv("SPACES_ZERO_GPU", raising=False)
    lab = FakeLab()
    before = dict(vars(lab))
    assert gpu.lend_gpu(lab) is lab and vars(lab) == before


def test_calls_travel_without_their_callbacks(space):
    lab = gpu.lend_gpu(FakeLab())
    condition = lab.render_scene(1).maps["canny"]
    with pytest.raises((AttributeError, pickle.PicklingError)):
        pickle.dumps(lambda what, done, total: None)
    images = lab.generate(GenerateSettings(seed=3), condition, lambda what, done, total: None)
    again = lab.generate(GenerateSettings(seed=3), condition, report=lambda what, done, total: None)
    assert [image.seed for image in images] == [3, 3] == [image.seed for image in again]
    assert space == [("generate", gpu.SECONDS["generate"])] * 2


def test_the_page_says_that_it_cannot_train(space):
    page = build(FakeLab())
    assert any(getattr(block, "value", None) == NO_TRAINING for block in page.blocks.values())


def test_nothing_starts_a_process_there(space, tmp_path):
    with pytest.raises(LisaError, match="duplicate this Space"):
        RunDesk(tmp_path).start(TrainSettings(), "mine")
    assert not list(tmp_path.iterdir())
