"""The estimate: real steps of real arms, counted as the run would count them, and printed without a run."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from PIL import Image

from lisa.__main__ import main
from lisa.errors import LisaError
from lisa.estimate import estimate, random_samples, times
from lisa.job import _due
from lisa.plan import Footprint
from lisa.settings import TrainSettings
from lisa.train import Trainer
from tests import tiny

SETTINGS = TrainSettings(
    source=str(tiny.folder("scenes-unet")), steps=100, batch_size=2, validate_every=50, validation_samples=6,
    preview_every=0, previews=1, samples=1000, device="cpu",
)  # fmt: skip


def test_an_estimate_is_made_of_real_steps(monkeypatch):
    taken, words = [], []
    steps = Trainer.steps

    def counted(trainer):
        for record in steps(trainer):
            taken.append(record)
            yield record

    monkeypatch.setattr(Trainer, "steps", counted)
    result = estimate(SETTINGS, lambda what, done, total: words.append(what))
    assert len(taken) == 4 and {"baseline", "lisa"} == set(taken[0].losses)
    assert result.seconds_per_step == sorted(record.seconds for record in taken[1:])[1]
    side = tiny.family("scenes-unet").new_side(0)
    assert result.parameters == sum(p.numel() for p in side.parameters())
    whole = 100 * result.seconds_per_step + 3 * result.seconds_per_validation + result.seconds_per_preview
    assert result.seconds == pytest.approx(whole)
    assert 50e6 < result.peak_bytes < 1e12 and result.device == "cpu"
    latents = 8 * (tiny.PIXELS // 8) ** 2 * 4
    assert result.sample_bytes == 1006 * (2 * 3 * tiny.PIXELS**2 + latents)
    assert "measuring steps" in words and words[0] == "loading networks"


def test_a_validation_is_all_its_batches(monkeypatch):
    monkeypatch.setattr("lisa.estimate._seconds", lambda work: 1.0)
    assert estimate(SETTINGS).seconds_per_validation == 3.0


def test_samples_have_the_shapes_of_real_ones():
    family = tiny.cached_family("sd15")
    data = random_samples(family, 3)
    pixels = data.conditions.float() / 127.5 - 1
    assert data.latents.shape == family.encode_image(pixels).shape and len(data) == 3


def test_the_shortest_run_can_be_estimated():
    result = estimate(replace(SETTINGS, steps=1, validate_every=0, arms="lisa"))
    whole = result.seconds_per_step + result.seconds_per_validation + result.seconds_per_preview
    assert result.seconds == pytest.approx(whole)


@pytest.mark.parametrize(("steps", "every"), [(1, 1), (1, 5), (10, 5), (11, 5), (12, 0), (7, 7), (200, 50)])
def test_events_are_counted_as_the_job_does_them(steps, every):
    assert times(steps, every) == sum(_due(step, every, step == steps) for step in range(1, steps + 1))


def test_memory_that_runs_out_is_one_sentence(monkeypatch):
    def fail(trainer):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        yield

    monkeypatch.setattr(Trainer, "steps", fail)
    with pytest.raises(LisaError, match="A batch of 2 samples does not fit into the memory of cpu"):
        estimate(SETTINGS)


@pytest.fixture
def data(tmp_path):
    for i in range(10):
        Image.new("RGB", (64, 64), (20 * i, 90, 120)).save(tmp_path / f"{i}.png")
    return tmp_path


def test_the_command_line_prints_both_and_makes_no_run(data, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flags = ["--source", str(tiny.folder("scenes-unet")), "--data", str(data), "--batch-size", "1", "--device", "cpu"]
    before = sorted(tmp_path.rglob("*"))
    assert main(["train", *flags, "--estimate"]) == 0
    out, err = capsys.readouterr()
    first, middle, second = map(json.loads, out.splitlines())
    footprint = Footprint.from_dict(middle["footprint"])
    assert not footprint.published and footprint.side == second["estimate"]["parameters"]
    assert footprint.device == "cpu" and footprint.matrix_speed > 0
    assert first["data"]["rows"] == 10 and first["data"]["looked_at"] == 10 and first["data"]["faulty"] == []
    assert second["estimate"]["seconds_per_step"] > 0 and "measuring steps" in err
    assert sorted(tmp_path.rglob("*")) == before


def test_without_weights_the_sizes_are_told_and_no_connection_is_made(tmp_path, capsys, monkeypatch):
    def refuse(*_):
        raise AssertionError("a connection was tried")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    flags = ["--family", "sd15", "--batch-size", "1", "--samples", "8", "--arms", "lisa"]
    assert main(["train", *flags, "--estimate"]) == 0
    out, _ = capsys.readouterr()
    lines = [json.loads(line) for line in out.splitlines()]
    assert [list(line) for line in lines] == [["data"], ["footprint"]]
    footprint = Footprint.from_dict(lines[1]["footprint"])
    assert footprint.published == "stable-diffusion-v1-5/stable-diffusion-v1-5" and footprint.main == 859_520_964
    assert footprint.cost.plain < footprint.cost.shared == footprint.flops < footprint.cost.full
    assert list(tmp_path.iterdir()) == []


def test_unknown_sizes_are_one_sentence(capsys):
    assert main(["train", "--family", "sdxl", "--source", "owner/unknown", "--samples", "8", "--estimate"]) == 2
    assert "owner/unknown is not on this machine, and its sizes are not known" in capsys.readouterr().err


def test_the_data_are_reported_even_where_nothing_can_be_measured(data, capsys):
    assert main(["train", "--source", str(data), "--data", str(data), "--device", "cpu", "--estimate"]) == 2
    out, err = capsys.readouterr()
    assert "data" in json.loads(out) and err.strip().splitlines()[-1].startswith("error: ")


def test_without_a_run_folder_nothing_is_trained(capsys):
    assert main(["train", "--steps", "1"]) == 2
    assert "give --run FOLDER" in capsys.readouterr().err
