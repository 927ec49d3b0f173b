from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys

import pytest
import torch
from diffusers import ControlNetModel, SD3ControlNetModel
from safetensors.torch import load_file, save_file

from lisa.errors import LisaError
from lisa.families.base import FAMILIES, load_family
from tests import tiny


@pytest.fixture(params=tiny.KINDS, scope="module")
def family(request):
    return tiny.family(request.param)


@pytest.fixture(scope="module")
def sd15():
    return tiny.family("sd15")


@pytest.fixture
def copy(tmp_path):
    """A pipeline folder that a test may damage."""
    return shutil.copytree(tiny.folder("sd15"), tmp_path / "pipeline")


def _one_sentence(caught):
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith(".")
    assert len(text) < 400
    return text


def _saved_side(folder, kind="sd15", **overrides):
    tiny.family(kind).new_side(0, **overrides).save_pretrained(folder, safe_serialization=True)


def _weights(folder):
    return next(folder.glob("*.safetensors"))


def _pickled(folder):
    _saved_side(folder)
    _weights(folder).write_bytes(pickle.dumps({"conv_in.weight": [1.0]}))


def _torch_saved(folder):
    _saved_side(folder)
    torch.save(tiny.family("sd15").new_side(0).state_dict(), _weights(folder))


def _bin_only(folder):
    _saved_side(folder)
    torch.save(tiny.family("sd15").new_side(0).state_dict(), folder / "diffusion_pytorch_model.bin")
    _weights(folder).unlink()


def _cut(folder):
    _saved_side(folder)
    _weights(folder).write_bytes(_weights(folder).read_bytes()[:-100])


def _incomplete(folder):
    _saved_side(folder)
    tensors = load_file(_weights(folder))
    del tensors["controlnet_mid_block.weight"]
    save_file(tensors, _weights(folder))


def _transformer(folder):
    sizes = {"attention_head_dim": 8, "num_attention_heads": 2, "joint_attention_dim": 16}
    more = {"caption_projection_dim": 16, "pooled_projection_dim": 16, "pos_embed_max_size": 8}
    SD3ControlNetModel(sample_size=8, num_layers=1, **sizes, **more).save_pretrained(folder)


def _wider(folder):
    unet = tiny.family("sd15").main
    config = {**unet.config, "block_out_channels": (8, 16, 16, 32)}
    ControlNetModel.from_unet(type(unet).from_config(config)).save_pretrained(folder)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder: _saved_side(folder, "scenes-unet"), "in_channels is 8, but must be 4"),
        (_wider, "block_out_channels is (8, 16, 16, 32), but must be (8, 16, 16, 16)"),
        (lambda folder: _saved_side(folder, conditioning_embedding_out_channels=(8, 16)), "2 times"),
        (_transformer, "holds the class SD3ControlNetModel, but ControlNetModel is needed"),
        (_pickled, "safetensors"),
        (_torch_saved, "safetensors"),
        (_bin_only, "safetensors"),
        (_cut, "safetensors"),
        (_incomplete, "lacks 1 weights such as controlnet_mid_block.weight"),
        (lambda folder: folder.mkdir(), "holds no ControlNetModel"),
        (lambda folder: None, "There is no folder"),
    ],
)
def test_a_side_network_that_does_not_fit_is_one_sentence(sd15, tmp_path, make, words):
    make(tmp_path / "side")
    with pytest.raises(LisaError) as caught:
        sd15.load_side(tmp_path / "side")
    assert words in _one_sentence(caught)
    assert str(tmp_path) in str(caught.value)


def test_the_list_of_families_needs_no_torch():
    code = (
        "import sys; from lisa.families.base import FAMILIES;"
        "print(*[s.name for s in FAMILIES.values() if isinstance(s.installed(), str)]);"
        "print({'torch', 'diffusers', 'transformers'} & set(sys.modules))"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names, loaded = output.stdout.strip().splitlines()
    assert loaded == "set()"
    assert {"scenes-unet", "scenes-dit", "scenes-video", "sd15", "sd21", "sdxl", "sd3", "sd35", "flux", "svd"} <= set(
        names.split()
    )


def test_what_is_missing_is_said_in_one_sentence(tmp_path, copy):
    spec = FAMILIES.get("sd15")
    assert spec.missing(str(copy), "") == ""
    shutil.rmtree(copy / "vae")
    assert spec.missing(str(copy), "") == f"{copy} has no vae."
    assert spec.missing(str(tmp_path / "no" / "folder"), "").startswith("There is no folder")
    assert spec.missing("nobody/nothing-at-all", "") == "nobody/nothing-at-all is not on this machine."


def test_a_loaded_family_is_frozen_and_knows_its_sizes(family):
    for module in (family.main, family.vae, family.parts["text_encoder"]):
        assert not module.training
        assert not any(parameter.requires_grad for parameter in module.parameters())
    assert (family.downscale, family.resolution) == (8, 64)
    assert family.latent_channels == (8 if family.name == "scenes-unet" else 4)
    assert family.path.prediction == ("epsilon" if family.name == "sd15" else "v_prediction")
    assert (family.dtype, family.device.type) == (torch.float32, "cpu")
    assert tiny.family(family.name, dtype=torch.bfloat16).dtype == torch.bfloat16


def test_a_safety_checker_in_the_folder_is_not_loaded(copy):
    (copy / "safety_checker").mkdir()
    (copy / "safety_checker" / "pytorch_model.bin").write_bytes(b"not to be read")
    assert load_family("sd15", str(copy)).pipeline().safety_checker is None


PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")


def _replaced(folder, part, kind):
    shutil.rmtree(folder / part)
    shutil.copytree(tiny.folder(kind) / part, folder / part)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        *((lambda folder, p=part: shutil.rmtree(folder / p), f"no folder {part}") for part in PARTS),
        (lambda folder: (folder / "unet" / "config.json").unlink(), "no UNet2DConditionModel"),
        (lambda folder: (folder / "unet" / "config.json").write_text("{"), "no UNet2DConditionModel"),
        (lambda folder: _weights(folder / "vae").write_bytes(b"x" * 999), "no AutoencoderKL"),
        (lambda folder: _weights(folder / "text_encoder").write_bytes(pickle.dumps({})), "no CLIPTextModel"),
        (lambda folder: _weights(folder / "text_encoder").unlink(), "no CLIPTextModel"),
        (lambda folder: _replaced(folder, "vae", "scenes-unet"), "in_channels is 4, but the vae's"),
        (lambda folder: shutil.copy(folder / "vae" / "config.json", folder / "unet"), "class AutoencoderKL"),
    ],
)  # fmt: skip
def test_a_damaged_pipeline_is_one_sentence(copy, damage, words):
    damage(copy)
    with pytest.raises(LisaError) as caught:
        load_family("sd15", str(copy))
    assert words in _one_sentence(caught)


@pytest.mark.parametrize("name", ["scenes-unet", "sd15", "sd21"])
def test_a_hub_id_without_a_network_is_one_sentence(name):
    with pytest.raises(LisaError) as caught:
        load_family(name, "nobody/nothing-at-all", revision="main")
    assert "nobody/nothing-at-all" in _one_sentence(caught)
    assert "connection" in str(caught.value)


def test_names_that_cannot_be_are_one_sentence(copy, tmp_path):
    with pytest.raises(LisaError, match="did you mean sd21 or sd15"):
        load_family("sd16")
    for source in (str(tmp_path / "nothing"), "no-slash", "../up", "a b/c", "x\ny/z"):
        with pytest.raises(LisaError, match="There is no folder") as caught:
            load_family("sd15", source)
        _one_sentence(caught)
    with pytest.raises(LisaError, match="Revision 'main' is for hub repositories"):
        load_family("sd15", str(copy), revision="main")


def test_a_scheduler_of_an_unknown_kind_is_one_sentence(copy):
    path = copy / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "prediction_type": "magic"}))
    with pytest.raises(LisaError, match="'magic'") as caught:
        load_family("sd15", str(copy))
    _one_sentence(caught)


def test_a_failed_load_in_half_precision_leaves_the_default_type_alone(copy):
    path = copy / "unet" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "norm_num_groups": 7}))
    with pytest.raises(LisaError, match="no UNet2DConditionModel") as caught:
        load_family("sd15", str(copy), dtype=torch.float16)
    _one_sentence(caught)
    assert torch.get_default_dtype() == torch.float32
