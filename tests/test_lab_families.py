"""The facade over a flow transformer and a family of clips, with random weights: what the tabs ask of any family."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from PIL import Image

from lisa import scoreview
from lisa.errors import LisaError
from lisa.lab import Lab
from lisa.runs import RunFolder
from lisa.settings import FeatureSettings, GenerateSettings
from tests.families import contract

FLOW, CLIPS = "scenes_dit", "animatediff"
ARMS = ("baseline", "lisa")


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A finished run of each family, which names no taps."""
    root = tmp_path_factory.mktemp("root")
    for kind in (FLOW, CLIPS):
        settings = {"family": contract.kind(kind).NAME, "condition": "canny", "source": str(contract.folder(kind))}
        run = RunFolder.create(root / "runs" / kind, settings)
        with run.commit_checkpoint(3) as folder:
            for seed, arm in enumerate(ARMS):
                side = contract.family(kind).new_side(seed)
                contract.kind(kind).open_control(side).save_pretrained(folder / arm)
    return Lab(root)


@pytest.fixture
def flow(lab):
    """The transformer, whose positions end at few pixels."""
    family = lab.memory.family(contract.kind(FLOW).NAME, str(contract.folder(FLOW)))
    family.resolution = contract.kind(FLOW).PIXELS
    return family


def ask(kind, **changes):
    name = contract.kind(kind).NAME
    return FeatureSettings(family=name, run=f"runs/{kind}", scenes=8, noises=1, method="pca", **changes)


def test_features_of_a_flow_transformer_are_read_where_its_default_is(lab, flow):
    study = lab.features(ask(FLOW, timesteps="500"))
    (default,) = flow.default_taps(flow.new_side(0))
    assert set(study.points) == {(3, arm, default.name) for arm in ARMS}
    assert study.settings.taps == default.name and any(row.measure == "linear CKA" for row in study.table)


@pytest.mark.usefixtures("flow")
def test_scores_of_a_flow_transformer_are_read_at_every_layer_by_probes(lab, monkeypatch, tmp_path):
    monkeypatch.setenv("LISA_CACHE", str(tmp_path))
    monkeypatch.setattr(scoreview, "_PROBE_SAMPLES", 4)
    monkeypatch.setattr(scoreview, "fit_decoder", partial(scoreview.fit_decoder, steps=2))
    views = lab.scores(ask(FLOW, timesteps="200,800", taps="block_0+block_1"), 3)
    assert [(reader.arm, reader.tap) for reader in views[0].ratio] == [
        (arm, tap) for arm in ARMS for tap in ("block_0", "block_1")
    ]
    assert all(reader.fitted for reader in views[0].ratio) and len(views) == 2
    assert all(np.isfinite(list(view.ratio.values())).all() for view in views)


def test_a_pair_of_clips_is_drawn_and_the_rest_says_in_a_sentence_that_it_shows_images_only(lab):
    frames = contract.family(CLIPS).frames
    settings = GenerateSettings(family=CLIPS, run=f"runs/{CLIPS}", prompt="a cube", steps=2)
    images = lab.generate(settings, Image.new("RGB", (32 * frames, 32)))
    assert [image.arm for image in images] == list(ARMS) and {len(image.clip) for image in images} == {frames}
    for refused in (
        lambda: lab.features(ask(CLIPS)), lambda: lab.scores(ask(CLIPS), 0), lambda: lab.round_trips(settings)
    ):  # fmt: skip
        with pytest.raises(LisaError, match=r"^[A-Z][a-z ]+ are for families that make images, but animatediff makes"):
            refused()
    with pytest.raises(LisaError, match="This strip has 3 frames"):
        lab.generate(settings, Image.new("RGB", (96, 32)))
