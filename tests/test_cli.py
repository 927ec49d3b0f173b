"""The command line: every verb explains itself, prints its settings, and fails with one sentence."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from lisa.__main__ import VERBS, main


@pytest.mark.parametrize("verb", VERBS)
def test_help_names_defaults_and_units(verb, capsys):
    with pytest.raises(SystemExit) as stop:
        main([verb, "--help"])
    assert stop.value.code == 0 and "usage: python -m lisa" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "name", "value"),
    [
        (["train", "--run", "x", "--steps", "7"], "steps", 7),
        (["pretrain", "--stage", "main"], "stage", "main"),
        (["generate", "--scene", "1", "--seed", "9"], "seed", 9),
        (["generate", "--scene", "1", "--run", "runs/mine"], "run", "runs/mine"),
    ],
)
def test_dry_run_prints_the_resolved_settings(arguments, name, value, capsys):
    assert main([*arguments, "--dry-run"]) == 0
    assert json.loads(capsys.readouterr().out)[name] == value


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--run", "x", "--arms", "best"], "Unknown arm 'best'"),
        (["scenes", "--out", "x", "--count", "0"], "count is 0 scenes"),
        (["generate", "--scene", "1", "--run", "runs/none"], "no run with a finished checkpoint"),
        (["annotate", "nothing.png"], "nothing.png"),
        (["evaluate", "nowhere"], "holds no run"),
        (["export", "nowhere", "there"], "holds no run"),
    ],
)
def test_mistakes_are_one_sentence_and_exit_code_2(arguments, message, capsys, tmp):
    assert main(arguments) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert error[-1].startswith("error: ") and message in error[-1]


def test_annotate_writes_a_map_and_lists_annotators(tmp, capsys):
    Image.new("RGB", (40, 30), "white").save("white.png")
    assert (
        main(["annotate", "white.png", "--annotator", "canny", "--knob", "low_threshold=50", "--out", "map.png"]) == 0
    )
    assert Image.open("map.png").size == (40, 30)
    assert main(["annotate"]) == 0
    assert "canny" in capsys.readouterr().out
