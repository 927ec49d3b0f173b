"""Side networks from elsewhere: what may come in, what becomes of it, and what is refused with a sentence."""

from __future__ import annotations

import dataclasses
import json
import pickle
import shutil
import stat
import zipfile

import huggingface_hub
import numpy as np
import pytest
import torch
from diffusers import ControlNetModel
from PIL import Image
from safetensors.torch import load_file

from lisa.errors import LisaError
from lisa.files import write_json
from lisa.lab import Lab
from lisa.pairs import find_pair
from lisa.runs import RunFolder
from lisa.settings import GenerateSettings
from lisa.unzip import unzip
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


@pytest.fixture
def side(tmp_path):
    """A side network as somebody else has saved it."""
    tiny.open_control(tiny.family(KIND).new_side(0)).save_pretrained(tmp_path / "theirs")
    return tmp_path / "theirs"


def bring(lab, source, kind=KIND, name="mine", **more):
    return lab.models.import_side(str(source), kind, "canny", name, main=str(tiny.folder(kind)), **more)


def zipped(path, folder, top="", extra=()):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, f"{top}{file.name}")
        for entry, content in extra:
            archive.writestr(entry, content)
    return path


def refused(lab, source, **more):
    """The sentence; nothing may be left behind."""
    with pytest.raises(LisaError) as caught:
        bring(lab, source, **more)
    text = str(caught.value)
    assert "\n" not in text and text.endswith(".") and len(text) < 400 and ".tmp-" not in text
    assert not list((lab.root / "runs").glob("*")) and lab.pairs() == ()
    return text


def test_a_folder_becomes_a_run_that_works_like_any_other(lab, side):
    assert bring(lab, side) == "runs/mine"
    (pair,) = lab.pairs()
    assert (pair.title, pair.arms, pair.steps) == ("canny, imported (mine)", ("imported",), (0,))
    run = RunFolder(lab.root / "runs" / "mine")
    kept = run.verify_checkpoint(0) / "imported"
    assert load_file(kept / WEIGHTS).keys() == load_file(side / WEIGHTS).keys()
    assert (kept / WEIGHTS).read_bytes() == (side / WEIGHTS).read_bytes()
    assert {path.name for path in run.path.parent.iterdir()} == {"mine"}

    settings = GenerateSettings(family=KIND, run=pair.id, arms="imported", prompt="a", steps=2, width=64, height=64)
    (image,) = lab.generate(settings, Image.new("RGB", (64, 64), "white"))
    (free,) = lab.generate(dataclasses.replace(settings, strength=0.0), Image.new("RGB", (64, 64), "white"))
    assert image.arm == "imported" and not np.array_equal(np.asarray(image.image), np.asarray(free.image))


def test_an_imported_run_is_followed_but_not_resumed(lab, side):
    bring(lab, side)
    (view,) = lab.training.runs()
    assert view.title == "mine: canny, imported"
    watch = lab.training.watch("runs/mine")
    assert (watch.progress.status, watch.progress.alive, watch.match) == ("imported", False, {})
    assert watch.progress.reason.startswith("It was imported from the folder theirs.")
    with pytest.raises(LisaError, match=r"It was imported from the folder theirs\..*start a new run"):
        lab.training.resume("runs/mine")
    (listed,) = lab.models.sides()
    assert (listed.origin, listed.arms, listed.steps, listed.family) == ("imported", ("imported",), (0,), KIND)
    assert listed.bytes > (side / WEIGHTS).stat().st_size
    lab.training.delete("runs/mine")
    assert lab.models.sides() == ()


def test_an_imported_run_does_not_stand_in_for_a_pair_with_the_wanted_arms(lab, side):
    bring(lab, side, name="a-first")
    settings = GenerateSettings(family=KIND, condition="canny")
    assert find_pair(lab.pairs(), settings).id == "runs/a-first"
    run = RunFolder.create(lab.root / "runs" / "second", {"family": KIND, "condition": "canny"})
    with run.commit_checkpoint(1) as folder:
        for arm in ("baseline", "lisa"):
            (folder / arm).mkdir()
    assert find_pair(lab.pairs(), settings).id == "runs/second"


def test_a_zip_gives_only_what_is_needed(lab, side, tmp_path, monkeypatch):
    written = set()

    def seen(path, target, *limits):
        unzip(path, target, *limits)
        written.update(each.relative_to(target).as_posix() for each in target.rglob("*") if each.is_file())

    monkeypatch.setattr("lisa.sharing.source.unzip", seen)
    extra = [("theirs/run.py", "boom"), ("theirs/extra.bin", b"pickle"), ("__MACOSX/config.json", "{}")]
    bring(lab, zipped(tmp_path / "theirs.zip", side, "theirs/", extra))
    kept = lab.root / "runs" / "mine" / "checkpoints" / "step-000000" / "imported"
    assert {path.name for path in kept.iterdir()} == {"config.json", WEIGHTS}
    assert written == {"theirs/config.json", f"theirs/{WEIGHTS}"}
    assert json.loads((lab.root / "runs" / "mine" / "origin.json").read_text())["source"] == "theirs.zip"


def test_shards_and_a_lone_file_of_another_name_are_found(lab, side):
    net = ControlNetModel.from_pretrained(side)
    shutil.rmtree(side)
    net.save_pretrained(side, max_shard_size="20KB")
    assert len(list(side.glob("*.safetensors"))) > 1
    bring(lab, side, name="sharded")
    shutil.rmtree(side)
    net.save_pretrained(side, variant="fp16")
    bring(lab, side, name="variant")
    for name in ("sharded", "variant"):
        kept = lab.root / "runs" / name / "checkpoints" / "step-000000" / "imported"
        again = ControlNetModel.from_pretrained(kept).state_dict()
        assert all(torch.equal(again[key], value) for key, value in net.state_dict().items())


def test_a_hub_repository_is_fetched_without_pickles_and_its_commit_is_kept(lab, side, tmp_path, monkeypatch):
    asked = []

    def fetch(repository, **options):
        asked.append((repository, options))
        return str(shutil.copytree(side, tmp_path / "snapshots" / "abc123", dirs_exist_ok=True))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    bring(lab, "owner/name@v2")
    ((repository, options),) = asked
    assert (repository, options["revision"], options["token"]) == ("owner/name", "v2", False)
    assert not any(pattern.endswith((".bin", ".pt", "*")) for pattern in options["allow_patterns"])
    assert "hub repository owner/name at revision abc123" in lab.training.watch("runs/mine").progress.reason
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    bring(lab, "owner/name", name="again", revision="main")
    assert (asked[1][1]["revision"], asked[1][1]["token"]) == ("main", TOKEN)


def test_a_hub_repository_that_cannot_be_had_is_one_sentence_without_the_token(lab, monkeypatch):
    def fail(*arguments, **options):
        raise OSError(f"401 for {TOKEN}\nmore")

    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    text = refused(lab, "owner/name")
    assert text.startswith("owner/name cannot be had from the hub (401 for ***)")


def test_the_wrong_family_is_told_by_both_values(lab, side):
    assert refused(lab, side, kind="sd15") == "theirs does not fit sd15: its in_channels is 8, but must be 4."


def test_a_misfit_is_found_before_any_weights_are_read(lab, side):
    config = json.loads((side / "config.json").read_text())
    (side / WEIGHTS).write_bytes(b"not read")
    for name, value, seen in (
        ("cross_attention_dim", 768, "is 768, but must be 16"),
        ("conditioning_channels", 1, "is 1, but must be 3"),
        ("block_out_channels", [10**9] * 3, "block_out_channels is (1000000000,"),
        ("_class_name", "SD3ControlNetModel", "the class SD3ControlNetModel, but ControlNetModel is needed"),
    ):
        write_json(side / "config.json", {**config, name: value})
        assert seen in refused(lab, side)
    write_json(side / "config.json", config)
    assert "theirs holds no ControlNetModel that can be read" in refused(lab, side)


def _renamed_pickle(folder):
    (folder / WEIGHTS).write_bytes(pickle.dumps({"conv_in.weight": [1.0]}))


def _bin_only(folder):
    torch.save({}, folder / "diffusion_pytorch_model.bin")
    (folder / WEIGHTS).unlink()


def _index_that_leads_out(folder):
    (folder / WEIGHTS).rename(folder.parent / "outside.safetensors")
    write_json(folder / f"{WEIGHTS}.index.json", {"weight_map": {"a": "../outside.safetensors"}})


def _two_files(folder):
    shutil.copy(folder / WEIGHTS, folder / "second.safetensors")
    (folder / WEIGHTS).rename(folder / "first.safetensors")


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_renamed_pickle, "give what save_pretrained wrote, with weights as safetensors"),
        (_bin_only, "only diffusion_pytorch_model.bin: a pickle can run code and is never read"),
        (lambda folder: (folder / "config.json").unlink(), "has no config.json"),
        (lambda folder: (folder / "config.json").write_text("{"), "holds no ControlNetModel that can be read"),
        (_index_that_leads_out, "'../outside.safetensors' in its index, which is no safetensors file"),
        (_two_files, f"holds 2 .safetensors files, but none is {WEIGHTS}"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(lab, side, tmp_path, damage, words, packed):
    damage(side)
    source = zipped(tmp_path / "theirs.zip", side) if packed else side
    text = refused(lab, source)
    assert words in text and text.startswith("theirs") and str(tmp_path) not in text


def test_an_unsafe_zip_is_refused(lab, side, tmp_path):
    link = zipfile.ZipInfo("link.json")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    for entry, words in (("../up.json", "leads out of its folder"), (link, "is a link")):
        assert words in refused(lab, zipped(tmp_path / "bad.zip", side, "", [(entry, "/etc/passwd")]))
    assert not (lab.root / "up.json").exists()
    two = zipped(tmp_path / "two.zip", side, "a/", [("b/config.json", "{}")])
    assert "holds 2 networks" in refused(lab, two)
    (tmp_path / "weights.ckpt").write_bytes(b"x")
    assert "neither a folder nor a .zip" in refused(lab, tmp_path / "weights.ckpt")


@pytest.mark.parametrize("source", ["", "nowhere", "/no/such/folder", "a\0b", "../../x/y/z"])
def test_a_source_that_is_nothing_is_one_sentence(lab, source):
    assert "here: give a folder" in refused(lab, source)


def test_names_are_checked_before_anything_is_read(lab, side):
    with pytest.raises(LisaError, match="must be 1 to 64"):
        bring(lab, side, name="../up")
    with pytest.raises(LisaError, match="The condition 'No Such' must be"):
        lab.models.import_side(str(side), KIND, "No Such", "mine")
    with pytest.raises(LisaError, match="Unknown family 'sd16'"):
        lab.models.import_side(str(side), "sd16", "canny", "mine")
    with pytest.raises(LisaError, match="Revision 'main' is for hub"):
        bring(lab, side, revision="main")
    bring(lab, side)
    with pytest.raises(LisaError, match="There is a run mine already: choose another name"):
        bring(lab, side)


def test_a_main_network_that_is_not_here_is_one_sentence(lab, side):
    with pytest.raises(LisaError, match="nobody/nothing"):
        lab.models.import_side(str(side), "sd15", "canny", "mine", main="nobody/nothing")
    assert lab.pairs() == ()
