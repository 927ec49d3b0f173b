"""Programs over the embedded models: a pair, a study of features, a training run from start to finished checkpoint."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from app.build import build, launch
from lisa.lab import ROOT, Lab
from lisa.settings import GenerateSettings

pytestmark = pytest.mark.skipif(
    not (ROOT / "checkpoints" / "scenes-unet" / "canny").exists(),
    reason="the embedded models are not there yet: python -m lisa pretrain makes them",
)
SECONDS = 180


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Lab:
    root = tmp_path_factory.mktemp("lab")
    for name in ("checkpoints", "assets"):
        (root / name).symlink_to(ROOT / name)
    return Lab(root)


@pytest.fixture(scope="module")
def client(lab, tmp_path_factory) -> Iterator[Client]:
    page = build(lab)
    _, url, _ = launch(page, server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, _frontend=False)
    yield Client(url, verbose=False, download_files=str(tmp_path_factory.mktemp("downloads")))
    page.close()


def test_a_pair_is_the_labs_own(client, lab, tmp_path):
    scene = lab.render_scene(2)
    scene.maps["canny"].save(tmp_path / "canny.png")
    settings = GenerateSettings(prompt=scene.caption, seed=4, steps=3)
    left, right, *_ = client.predict(
        condition=handle_file(str(tmp_path / "canny.png")), random_seed=False, prompt=scene.caption, seed=4, steps=3,
        run="checkpoints/scenes-unet/canny", api_name="/generate",
    )  # fmt: skip
    for file, wanted in zip((left, right), lab.generate(settings, scene.maps["canny"]), strict=True):
        with Image.open(file) as image:
            assert np.array_equal(np.asarray(image), np.asarray(wanted.image))


def test_features_are_measured(client):
    asked = {"scenes": 4, "noises": 1, "timesteps": "300,700", "prompts": "own", "method": "pca"}
    seen = client.predict(settings=asked, api_name="/features")
    assert {each["arm"] for each in seen["points"]} == {"baseline", "lisa"}
    assert all(np.shape(each["points"]) == (8, 2) for each in seen["points"])
    assert len(seen["factors"]["timestep"]) == 8
    assert any(line["measure"] == "variance share" and line["figure"]["value"] >= 0 for line in seen["table"])
    with pytest.raises(AppError, match="scenes is 1"):
        client.predict(settings={"scenes": 1}, api_name="/features")


def test_a_run_is_started_and_followed(client, lab):
    asked = {"steps": 2, "batch_size": 2, "samples": 128, "validation_samples": 4, "previews": 1}
    run = client.predict(settings=asked, name="small", api_name="/train")
    assert run == "runs/small"
    end = time.monotonic() + SECONDS
    while client.predict(run=run, api_name="/train_status")["alive"]:
        assert time.monotonic() < end, (lab.root / run / "log.txt").read_text()[-2000:]
        time.sleep(0.5)
    status = client.predict(run=run, api_name="/train_status")
    assert (status["status"], status["step"], status["checkpoints"]) == ("finished", 2, [2])
    assert status["last"]["train/lisa/control"] > 0
    assert run in [each["id"] for each in client.predict(api_name="/runs")]
    assert [pair.arms for pair in lab.pairs() if pair.id == run] == [("baseline", "lisa")]
