"""The rows of a measurement: in the order in which the run names its arms, against the first of them."""

from __future__ import annotations

import pytest
from PIL import Image

from lisa import measuring
from lisa.data.samples import condition_pool
from lisa.evaluate import evaluate
from lisa.files import read_json, write_json
from lisa.options import to_dict
from lisa.origin import IMPORTED, Origin
from lisa.runs import RunFolder
from lisa.settings import TrainSettings
from tests import tiny


@pytest.fixture
def measured(tmp_path, monkeypatch):
    """Measures a run whose arms have those names, with checkpoints of the arms named second."""
    family = tiny.cached_family("scenes-unet")
    monkeypatch.setattr("lisa.evaluate.load_family", lambda *a: family)
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    for i, image in enumerate(condition_pool("canny", "validation", 20).images):
        Image.fromarray(image).save(photographs / f"{i:02d}.png")

    def measure(arms, kept, before=(), origin=None):
        run = RunFolder.create(tmp_path / "run", to_dict(TrainSettings(arms=arms, data=str(photographs))))
        if origin:
            origin.write(run.path)
        with run.commit_checkpoint(3) as out:
            for arm in kept:
                family.new_side(0).save_pretrained(out / arm)
        if before:
            write_json(run.path / measuring.RESULTS, {"scenes": 2, "sampling_steps": 1, "rows": before})
        evaluate(run.path, 512, 1)
        return read_json(run.path / measuring.RESULTS)["rows"]

    return measure


NAMED = "zeta:weight=0,alpha:weight=0.5:taps=down_0"


def test_the_first_arm_named_is_the_reference(measured):
    rows = measured(NAMED, ("alpha", "zeta"))
    assert [row["arm"] for row in rows] == ["zeta", "alpha"]
    assert measuring.reference(rows) == "zeta" and rows[1]["loss_difference"] == 0


def test_rows_against_another_arm_are_not_kept(measured):
    old = [{"step": 2, "arm": "alpha", "loss": 1.0}, {"step": 2, "arm": "zeta", "loss": 2.0, "loss_difference": 1.0}]
    assert {row["step"] for row in measured(NAMED, ("alpha", "zeta"), old)} == {3}


def test_rows_against_the_same_arm_are_kept(measured):
    old = [{"step": 2, "arm": "zeta", "loss": 2.0}, {"step": 2, "arm": "alpha", "loss": 1.0, "loss_difference": -1.0}]
    rows = measured(NAMED, ("alpha", "zeta"), old)
    assert [(row["step"], row["arm"]) for row in rows] == [(2, "zeta"), (2, "alpha"), (3, "zeta"), (3, "alpha")]


def test_an_imported_run_is_measured_with_what_is_there(measured):
    rows = measured("baseline,lisa", (IMPORTED,), origin=Origin("folder", "controlnet"))
    assert [row["arm"] for row in rows] == [IMPORTED]
