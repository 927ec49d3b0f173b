"""A run from start to end in its folder: files, stop, resume, and what is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
import torch
from diffusers import ControlNetModel
from PIL import Image
from safetensors.torch import load_file

from lisa import job
from lisa.data.samples import load_data
from lisa.errors import LisaError
from lisa.evaluate import held_out
from lisa.export import export_run
from lisa.follow import sample_steps
from lisa.job import Job
from lisa.options import to_dict
from lisa.runs import RunFolder
from lisa.settings import TrainSettings
from tests import tiny

KIND = "scenes-unet"


@pytest.fixture
def data(tmp_path):
    """Twenty pictures with captions and canny made on the fly."""
    folder = tmp_path / "data"
    folder.mkdir()
    rows = []
    for i in range(20):
        picture = Image.new("RGB", (80, 64), (10 * i, 100, 200))
        picture.paste((255, 255, 255), (10 + i, 10, 40 + i, 40))
        picture.save(folder / f"{i:02d}.png")
        rows.append({"file_name": f"{i:02d}.png", "text": f"picture {i}"})
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


@pytest.fixture
def settings(data, tmp_path, monkeypatch):
    monkeypatch.setenv("LISA_CACHE", str(tmp_path / "cache"))
    return TrainSettings(
        family=KIND, source=str(tiny.folder(KIND)), data=str(data), steps=4, batch_size=2, learning_rate=1e-3,
        validate_every=2, validation_samples=2, checkpoint_every=2, preview_every=4, previews=1, device="cpu",
    )  # fmt: skip


def run_to_the_end(settings, folder) -> RunFolder:
    for _ in Job(settings, folder).records():
        pass
    return RunFolder.open(folder)


def arm_weights(run: RunFolder, step: int, arm: str):
    return load_file(run.checkpoint_dir(step) / arm / "diffusion_pytorch_model.safetensors")


def test_a_finished_run_holds_what_the_readme_names(settings, tmp_path):
    run = run_to_the_end(settings, tmp_path / "run")
    assert run.checkpoints() == [2, 4] and run.read_state()["status"] == "finished"
    events = run.events()
    train = [(e["step"], e["arm"]) for e in events if e["kind"] == "train"]
    assert train == [(step, arm) for step in range(1, 5) for arm in ("baseline", "lisa")]
    assert {"control", "alignment", "ratio", "prior", "learning_rate", "seconds"} <= set(events[-3])
    assert [e["step"] for e in events if e["kind"] == "validation" and e["arm"] == "lisa"] == [0, 2, 4]
    assert {p.name for p in (run.samples / "step-000004").iterdir()} == {
        "00-condition.png",
        "00-baseline.png",
        "00-lisa.png",
    }
    side = ControlNetModel.from_pretrained(run.checkpoint_dir(4) / "lisa")
    assert side.config.block_out_channels == [8, 16, 16]
    assert (run.checkpoint_dir(4) / "lisa" / "decoder" / "down_0" / "decoder.safetensors").exists()
    assert not run.is_running()


def test_followers_see_all_samples_of_a_step_or_none(settings, tmp_path, monkeypatch):
    seen, made = [], job.preview_images
    monkeypatch.setattr(
        job, "preview_images", lambda *a: seen.append(sample_steps(RunFolder(tmp_path / "run"))) or made(*a)
    )
    run = run_to_the_end(replace(settings, previews=2, preview_every=2), tmp_path / "run")
    assert seen == [(), (), (2,), (2,)] and sample_steps(run) == (2, 4)


def test_a_stop_asked_for_while_the_process_loads_is_kept(settings, tmp_path):
    run = RunFolder.create(tmp_path / "run", to_dict(settings))
    run.write_state({"status": "starting"})
    run.ask("stop")
    assert run_to_the_end(settings, run.path).read_state()["status"] == "stopped"
    run.ask("stop")  # left by who stopped it twice
    assert run_to_the_end(settings, run.path).read_state()["status"] == "finished"


def test_time_between_steps_is_logged(settings, tmp_path):
    events = run_to_the_end(replace(settings, preview_every=1, previews=2), tmp_path / "run").events()
    train = [event for event in events if event["kind"] == "train" and event["step"] > 1]
    assert all(event["elapsed"] > event["seconds"] for event in train)


def test_stop_saves_and_resume_equals_uninterrupted(settings, tmp_path):
    whole = run_to_the_end(settings, tmp_path / "whole")
    job = Job(settings, tmp_path / "parts")
    for record in job.records():
        if record.step == 3:
            job.ask_to_stop()
    run = RunFolder.open(tmp_path / "parts")
    assert run.read_state()["status"] == "stopped" and run.checkpoints() == [2, 3]
    run_to_the_end(settings, tmp_path / "parts")
    timed = ("seconds", "elapsed")
    strip = [[{k: v for k, v in e.items() if k not in timed} for e in r.events()] for r in (whole, run)]
    assert strip[0] == strip[1]
    for arm in ("baseline", "lisa"):
        a, b = arm_weights(whole, 4, arm), arm_weights(run, 4, arm)
        assert all(torch.equal(a[name], b[name]) for name in a)


def test_after_a_crash_the_log_goes_back_to_the_checkpoint(settings, tmp_path):
    records = Job(settings, tmp_path / "run").records()
    while next(records).step < 3:
        pass
    with pytest.raises(RuntimeError, match="power cut"):
        records.throw(RuntimeError("power cut"))
    run = run_to_the_end(settings, tmp_path / "run")
    assert [e["step"] for e in run.events() if e["kind"] == "train" and e["arm"] == "lisa"] == [1, 2, 3, 4]


def test_other_settings_for_the_same_folder_are_refused(settings, tmp_path):
    run_to_the_end(replace(settings, steps=2), tmp_path / "run")
    with pytest.raises(LisaError, match="started with batch_size 2, not 1"):
        Job(replace(settings, batch_size=1), tmp_path / "run")
    longer = run_to_the_end(settings, tmp_path / "run")
    assert longer.checkpoints() == [2, 4] and longer.settings()["steps"] == 4


def test_a_failure_is_written_for_followers(settings, tmp_path):
    with pytest.raises(LisaError, match="does not exist"):
        run_to_the_end(replace(settings, data=str(tmp_path / "nowhere")), tmp_path / "run")
    state = RunFolder.open(tmp_path / "run").read_state()
    assert state["status"] == "failed" and "does not exist" in state["reason"]


def test_export_keeps_what_ships_and_nothing_else(settings, tmp_path):
    run_to_the_end(settings, tmp_path / "run")
    export_run(tmp_path / "run", tmp_path / "shipped", (4,))
    shipped = RunFolder.open(tmp_path / "shipped")
    assert shipped.checkpoints() == [4] and shipped.verify_checkpoint(4)
    assert arm_weights(shipped, 4, "lisa")["conv_in.weight"].dtype == torch.float16
    assert not list((tmp_path / "shipped").rglob("optimizer*"))
    events = RunFolder.open(tmp_path / "run").events()
    for ours, theirs in zip(shipped.events(), events, strict=True):
        assert ours == {name: pytest.approx(v, rel=1e-5) if isinstance(v, float) else v for name, v in theirs.items()}
    with pytest.raises(LisaError, match="already exists"):
        export_run(tmp_path / "run", tmp_path / "shipped")


def test_a_zip_gives_the_samples_of_its_folder(settings, data, tmp_path):
    """To training, to validation and to the measures after it."""
    family, path = tiny.cached_family(KIND), shutil.make_archive(str(tmp_path / "zipped"), "zip", data)
    for split in ("train", "validation"):
        ours, theirs = (load_data(family, source, "canny", split, 4) for source in (path, str(data)))
        assert ours.names == theirs.names and ours.captions == theirs.captions and len(ours) > 0
        assert torch.equal(ours.latents, theirs.latents) and torch.equal(ours.conditions, theirs.conditions)
    assert held_out(family, path, "canny", 4).data.names == held_out(family, str(data), "canny", 4).data.names
