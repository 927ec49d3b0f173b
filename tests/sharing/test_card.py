"""Networks are listed; side networks go out with an honest card, and nothing else goes out."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from pathlib import Path

import huggingface_hub
import pytest
import torch
from diffusers import ControlNetModel
from safetensors.torch import load_file

from lisa.errors import LisaError
from lisa.families.base import FAMILIES
from lisa.files import write_json
from lisa.lab import Lab
from lisa.options import to_dict
from lisa.runs import RunFolder
from lisa.settings import TrainSettings
from tests import tiny

KIND = "scenes-unet"
WEIGHTS = "diffusion_pytorch_model.safetensors"
TOKEN = "hf_secret"


@pytest.fixture(autouse=True)
def _own_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("LISA_CACHE", str(tmp_path / "cache"))
    for name in ("HF_TOKEN", "SPACE_ID"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def lab(tmp_path):
    return Lab(tmp_path / "root")


def trained(lab, name="mine", step=200, shards="10GB", **changes):
    """A run that was trained here, with two arms at one step; with what diffusers may write into a config."""
    settings = TrainSettings(**{"steps": 400, "source": str(tiny.folder(KIND)), **changes})
    run = RunFolder.create(lab.root / "runs" / name, to_dict(settings))
    with run.commit_checkpoint(step) as folder:
        for seed, arm in enumerate(("baseline", "lisa")):
            made = tiny.open_control(tiny.family(KIND).new_side(0), seed=seed + 1)
            made.save_pretrained(folder / arm, max_shard_size=shards)
            config = json.loads((folder / arm / "config.json").read_text())
            write_json(folder / arm / "config.json", {**config, "_name_or_path": "/home/me/secret"})
    return run


def test_main_networks_are_listed_with_their_size_and_parameters(lab, monkeypatch):
    folder = tiny.folder(KIND)
    spec = dataclasses.replace(FAMILIES.get(KIND), source=str(folder))
    monkeypatch.setitem(FAMILIES._entries, KIND, spec)
    views = lab.models.installed()
    (first,) = [view for view in views if view.name == KIND]
    assert (first.place, first.reason) == ("folder", "")
    assert first.parameters == sum(p.numel() for p in tiny.family(KIND).main.parameters())
    assert first.bytes == sum(p.stat().st_size for p in folder.rglob("*") if p.is_file() and p.parent != folder)
    others = [view for view in views if view is not first and "checkpoints" not in view.source]
    assert {"sd15", "sd21"} <= {view.name for view in others}
    assert all(view.reason.endswith(".") and not view.place and not view.bytes for view in others)


def test_side_networks_are_listed_with_where_they_come_from(lab):
    RunFolder.create(lab.root / "checkpoints" / KIND / "canny", {"family": KIND, "condition": "canny"})
    run = trained(lab)
    shipped, own = lab.models.sides()
    assert (shipped.id, shipped.origin, shipped.steps, shipped.arms) == (
        f"checkpoints/{KIND}/canny", "came with the lab", (), ("baseline", "lisa"),
    )  # fmt: skip
    assert (own.id, own.origin, own.steps) == ("runs/mine", "trained here", (200,))
    assert own.bytes == sum(path.stat().st_size for path in run.path.rglob("*") if path.is_file())


@pytest.mark.parametrize("shards", ["10GB", "20KB"])
def test_a_package_is_a_plain_diffusers_folder_in_float16(lab, tmp_path, shards):
    run = trained(lab, shards=shards)
    path = lab.models.package("runs/mine", 200, "lisa")
    assert path.name == "mine-step-000200-lisa.zip" and path.is_relative_to(tmp_path / "cache")
    with zipfile.ZipFile(path) as archive:
        assert {Path(name).name for name in archive.namelist()} == {"config.json", "README.md", WEIGHTS}
        archive.extractall(tmp_path / "there")
    folder = tmp_path / "there" / "mine-step-000200-lisa"
    assert {value.dtype for value in load_file(folder / WEIGHTS).values()} == {torch.float16}
    assert "secret" not in (folder / "config.json").read_text()
    again = ControlNetModel.from_pretrained(folder).state_dict()
    for key, value in ControlNetModel.from_pretrained(run.checkpoint_dir(200) / "lisa").state_dict().items():
        assert torch.equal(again[key].float(), value.half().float())
    out = lab.models.package("runs/mine", 200, "baseline", tmp_path / "plain")
    assert {path.name for path in out.iterdir()} == {"config.json", "README.md", WEIGHTS}
    with pytest.raises(LisaError, match="plain already exists"):
        lab.models.package("runs/mine", 200, "baseline", out)
    main = str(tiny.folder(KIND))
    assert lab.models.import_side(str(path), KIND, "canny", "round", main=main) == "runs/round"


def test_what_cannot_be_packed_is_one_sentence(lab, tmp_path):
    run = trained(lab)
    for arguments, words in (
        (("runs/none", 200, "lisa"), "There is no run 'runs/none'"),
        (("runs/mine", 7, "lisa"), "no checkpoint at step 7; kept steps: 200"),
        (("runs/mine", 200, "../../up"), "Unknown arm '../../up'"),
    ):
        with pytest.raises(LisaError, match=words):
            lab.models.package(*arguments)
    weights = run.checkpoint_dir(200) / "lisa" / WEIGHTS
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(LisaError, match="is damaged"):
        lab.models.package("runs/mine", 200, "lisa", tmp_path / "out.zip")
    assert not (tmp_path / "out.zip").exists() and not list((tmp_path / "cache").rglob("*.zip"))


def card_of(lab, arm="lisa"):
    card = huggingface_hub.ModelCard(lab.models.card("runs/mine", 200, arm))
    return card.data.to_dict(), card.text


def test_the_card_says_what_the_run_says_and_nothing_else(lab):
    trained(lab, arms="baseline,lisa:weight=0.3:taps=down_3", data="/home/me/photos", samples=64)
    data, text = card_of(lab)
    assert data == {"library_name": "diffusers", "tags": ["controlnet", "lisa-lab", "canny", "lisa"]}
    assert "weight 0.3 (constant), taps down_3, decoder width 64, distance mse" in text
    assert "| Steps | 200 of 400 |" in text and "| Arm | lisa beside baseline, on the same samples" in text
    assert "64 samples of a folder or zip named photos" in text and "/home" not in text and str(lab.root) not in text
    assert "Nothing was measured" in text and "Licence" in text
    assert "from diffusers import ControlNetModel\n" in text
    assert "none: plain training" in card_of(lab, "baseline")[1]


def test_the_card_names_a_main_network_of_the_hub_and_its_figures(lab):
    run = trained(lab, source="owner/base", condition="depth: [x]")
    row = {"arm": "lisa", "loss": 0.25, "fidelity": 0.5, "measure": "Edge F1", "loss_difference": -0.125}
    row |= {"loss_interval": [-0.2, -0.1], "fidelity_difference": 0.1, "fidelity_interval": [0.0, 0.2]}
    rows = [{"step": 200, "arm": "baseline", "loss": 0.375, "fidelity": 0.4}, {"step": 200, **row}]
    write_json(run.path / "evaluation.json", {"scenes": 8, "sampling_steps": 2, "rows": rows})
    data, text = card_of(lab)
    assert data["base_model"] == "owner/base" and data["tags"][2] == "depth: [x]"
    assert 'StableDiffusionControlNetPipeline.from_pretrained("owner/base", controlnet=side)' in text
    assert "On 8 held-out samples with 2 sampling steps" in text
    assert "| Test loss | 0.25000 | -0.12500 (-0.20000 to -0.10000) |" in text
    assert "| Edge F1 | 0.5000 | +0.1000 (+0.0000 to +0.2000) |" in text and "difference to baseline" in text
    write_json(run.path / "evaluation.json", {"scenes": 8, "sampling_steps": 2, "rows": [{**rows[1], "step": 100}]})
    assert "Nothing was measured" in card_of(lab)[1]


def test_the_card_of_an_imported_network_claims_no_training(lab, tmp_path):
    tiny.family(KIND).new_side(0).save_pretrained(tmp_path / "theirs")
    lab.models.import_side(str(tmp_path / "theirs"), KIND, "canny", "new", main=str(tiny.folder(KIND)))
    text = lab.models.card("runs/new", 0, "imported")
    assert "It was imported from the folder theirs. How it was trained is not known here." in text
    assert "Learning rate" not in text and "scenes of LISA" not in text


class FakeHub:
    """Stands in for huggingface_hub.HfApi."""

    endpoint = "https://hub.test"
    calls: list = []  # noqa: RUF012  (emptied by the fixture)
    public = ("owner/public",)
    failure: Exception | None = None

    def __init__(self, token):
        self.calls.append(("token", token))

    def repo_exists(self, repository):
        return repository in self.public

    def model_info(self, repository):
        return type("Info", (), {"private": False})

    def create_repo(self, repository, private):
        self.calls.append(("create", repository, private))

    def upload_folder(self, folder_path, repo_id, commit_message):
        if self.failure:
            raise self.failure
        self.calls.append(("upload", repo_id, {path.name for path in Path(folder_path).iterdir()}))
        self.calls.append(("card", (Path(folder_path) / "README.md").read_text()))


@pytest.fixture
def hub(monkeypatch):
    monkeypatch.setattr(huggingface_hub, "HfApi", FakeHub)
    monkeypatch.setattr(FakeHub, "calls", [])
    return FakeHub


def test_nothing_is_pushed_without_a_token(lab, hub, monkeypatch):
    trained(lab)
    assert "HF_TOKEN is not set" in lab.models.why_no_push()
    with pytest.raises(LisaError, match="HF_TOKEN is not set"):
        lab.models.push("runs/mine", 200, "lisa", "owner/name")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert lab.models.why_no_push() == ""
    monkeypatch.setenv("SPACE_ID", "someone/space")
    with pytest.raises(LisaError, match="A Space has only its owner's token"):
        lab.models.push("runs/mine", 200, "lisa", "owner/name")
    assert hub.calls == []


def test_a_push_uploads_the_package(lab, hub, monkeypatch, caplog):
    trained(lab)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert lab.models.push("runs/mine", 200, "lisa", "owner/name") == "https://hub.test/owner/name"
    token, create, upload, (_, card) = hub.calls
    assert token == ("token", TOKEN) and create == ("create", "owner/name", True)
    assert upload == ("upload", "owner/name", {"config.json", "README.md", WEIGHTS})
    assert 'from_pretrained("owner/name")' in card and TOKEN not in card and TOKEN not in caplog.text


def test_a_push_that_fails_is_one_sentence_without_the_token(lab, hub, monkeypatch):
    trained(lab)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(hub, "failure", RuntimeError(f"403 Forbidden for {TOKEN}.\nRequest id"))
    with pytest.raises(LisaError) as caught:
        lab.models.push("runs/mine", 200, "lisa", "owner/name")
    assert str(caught.value).startswith("owner/name cannot be pushed to (403 Forbidden for ***): check")
    with pytest.raises(LisaError, match="exists and is public"):
        lab.models.push("runs/mine", 200, "lisa", "owner/public")
    with pytest.raises(LisaError, match="'no-slash' is no repository"):
        lab.models.push("runs/mine", 200, "lisa", "no-slash")
