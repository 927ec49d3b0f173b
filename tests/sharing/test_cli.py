"""``python -m lisa import`` and ``package``: from one folder to a run, and from the run to a folder."""

from __future__ import annotations

from functools import partial

import pytest
from diffusers import ControlNetModel

import lisa.lab
from lisa.__main__ import main
from lisa.sharing.desk import ModelDesk
from tests import tiny

KIND = "scenes-unet"


@pytest.fixture
def root(tmp, monkeypatch):
    """An empty lab, and beside it a side network in the folder theirs."""
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(lisa.lab, "Lab", partial(lisa.lab.Lab, tmp))
    tiny.family(KIND).new_side(0).save_pretrained(tmp / "theirs")
    return tmp


def words(*arguments):
    return ["import", *arguments, "--condition", "canny", "--main", str(tiny.folder(KIND))]


def test_a_side_network_comes_in_and_goes_out(root, capsys):
    assert main(words("theirs", "--name", "mine")) == 0
    assert capsys.readouterr().out.strip() == "runs/mine"
    assert main(["package", "runs/mine/", "--arm", "imported", "--out", "out/plain"]) == 0
    assert capsys.readouterr().out.strip() == "out/plain"
    assert isinstance(ControlNetModel.from_pretrained(root / "out" / "plain"), ControlNetModel)
    assert main(["package", "runs/mine", "--arm", "imported", "--at", "0", "--out", "plain.zip"]) == 0
    assert (root / "plain.zip").stat().st_size > 1000


def test_a_push_is_private_unless_public_is_said(root, capsys, monkeypatch):
    main(words("theirs", "--name", "mine"))
    asked = []

    def push(desk, run, step, arm, repository, private):
        asked.append((run, step, arm, repository, private))
        return "https://hub.test/a/b"

    monkeypatch.setattr(ModelDesk, "push", push)
    for flags in ([], ["--public"]):
        assert main(["package", "runs/mine", "--arm", "imported", "--push", "a/b", *flags]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "https://hub.test/a/b"
    assert asked == [("runs/mine", 0, "imported", "a/b", True), ("runs/mine", 0, "imported", "a/b", False)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (words("nowhere", "--name", "mine"), "There is no 'nowhere' here"),
        (words("theirs", "--name", "No"), "must be 1 to 64"),
        (words("theirs", "--name", "mine", "--family", "sd16"), "Unknown family 'sd16'"),
        (["package", "runs/mine"], "nowhere to put the package"),
        (["package", "runs/mine", "--out", "x"], "'runs/mine' is no run with a finished checkpoint"),
    ],
)
def test_mistakes_are_one_sentence_and_exit_code_2(root, arguments, message, capsys):
    assert main(arguments) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert error[-1].startswith("error: ") and message in error[-1]


def test_a_push_without_a_token_is_exit_code_2(root, capsys):
    main(words("theirs", "--name", "mine"))
    assert main(["package", "runs/mine", "--arm", "imported", "--push", "a/b"]) == 2
    assert "HF_TOKEN is not set" in capsys.readouterr().err
