from __future__ import annotations

import argparse
import dataclasses
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lisa.errors import LisaError
from lisa.options import parse_text
from lisa.settings import (
    ArmSettings,
    GenerateSettings,
    LisaSettings,
    TrainSettings,
    add_arguments,
    check,
    from_arguments,
    from_dict,
    option,
    options,
    parse_arms,
    to_dict,
)

ALL = [LisaSettings, ArmSettings, TrainSettings, GenerateSettings]


@dataclasses.dataclass(frozen=True)
class Sample:
    rate: float | None = option(None, "A rate", low=0, high=1)
    sizes: tuple[int, ...] = option((1, 2), "Sizes", low=1)


@pytest.mark.parametrize("cls", ALL)
def test_defaults_are_valid_and_survive_json(cls):
    settings = check(cls())
    assert from_dict(cls, json.loads(json.dumps(to_dict(settings)))) == settings


@pytest.mark.parametrize("cls", ALL)
def test_every_option_has_help_and_label(cls):
    for name, declared, _, _ in options(cls):
        assert declared.help, name
        assert declared.label, name
        assert not declared.help.endswith("."), name


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"learning_rate": math.nan}, "learning_rate is nan, but must be a number, 0..1."),
        ({"learning_rate": math.inf}, "learning_rate is inf"),
        ({"learning_rate": -1e-4}, "learning_rate is -0.0001"),
        ({"learning_rate": "fast"}, "learning_rate is 'fast'"),
        ({"steps": True}, "steps is True, but must be a whole number, 1..10000000 steps."),
        ({"steps": 0}, "steps is 0"),
        ({"steps": 1.5}, "steps is 1.5"),
        ({"steps": None}, "steps is empty: give a whole number, 1..10000000 steps."),
        ({"share": 1}, "share is 1, but must be true or false."),
        ({"precision": "fp8"}, "precision is 'fp8', but must be no, bf16 or fp16."),
        ({"source": 3}, "source is 3, but must be text."),
        ({"source": "a\0b"}, "NUL"),
        ({"source": "\ud800"}, "broken Unicode"),
        ({"arms": "baseline,lissa"}, "did you mean lisa?"),
    ],
)
def test_a_wrong_value_is_one_sentence(changes, sentence):
    with pytest.raises(LisaError) as caught:
        from_dict(TrainSettings, changes)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"control_start": 0.6, "control_end": 0.5},
        {"control_start": 0.5, "control_end": 0.5},
        {"control_start": 1.0},
        {"checkpoint": "../../etc"},
        {"width": 100},
        {"arms": "lisa,lisa"},
        {"arms": ""},
        {"arms": "../lisa"},
        {"strength": 2.01},
    ],
)
def test_generate_settings_refuse_what_cannot_be(changes):
    with pytest.raises(LisaError):
        from_dict(GenerateSettings, changes)


def test_control_that_never_acts_is_told_with_both_values_and_what_to_do():
    with pytest.raises(LisaError) as caught:
        from_dict(GenerateSettings, {"control_start": 1, "control_end": 1})
    assert str(caught.value) == (
        "Control start is 1, but must be below control end, which is 1: lower the start or raise the end."
    )


@pytest.mark.parametrize(("text", "told"), [("1.5", "is '1.5', but must be"), ("", "is empty: give"), ("x", "is 'x'")])
def test_a_text_that_is_no_number_is_told_with_the_range(text, told):
    hint, declared = next((h, o) for name, o, h, _ in options(GenerateSettings) if name == "seed")
    with pytest.raises(LisaError) as caught:
        parse_text("Seed", text, hint, declared)
    assert f"Seed {told}" in str(caught.value)
    assert str(caught.value).endswith("a whole number, 0..4294967295.")


def test_an_unknown_key_names_the_near_one():
    with pytest.raises(LisaError, match=r"'learning_rat': did you mean learning_rate\?"):
        from_dict(TrainSettings, {"learning_rat": 1e-3})
    with pytest.raises(LisaError, match="table of names"):
        from_dict(TrainSettings, [1])


def test_optional_and_tuples():
    assert check(Sample()).rate is None
    assert from_dict(Sample, {"sizes": [3.0, 4]}).sizes == (3, 4)
    for wrong in ({"sizes": [0]}, {"sizes": 3}, {"sizes": [True]}, {"rate": True}, {"rate": 1.1}):
        with pytest.raises(LisaError):
            from_dict(Sample, wrong)


def test_a_nested_mistake_is_found():
    with pytest.raises(LisaError, match="weight is -1"):
        from_dict(ArmSettings, {"name": "x", "lisa": {"weight": -1}})


@given(st.floats() | st.integers() | st.text() | st.none() | st.booleans() | st.lists(st.integers()))
def test_any_value_is_accepted_or_refused_with_a_lisa_error(value):
    try:
        settings = from_dict(TrainSettings, {"clip_norm": value})
    except LisaError:
        return
    assert 0 <= settings.clip_norm <= 1000


def parse(cls, *flags):
    parser = argparse.ArgumentParser()
    add_arguments(parser, cls)
    return parser.parse_args(flags)


def test_flags_become_settings_and_unused_flags_keep_the_base():
    given_flags = parse(TrainSettings, "--batch-size", "4", "--no-share", "--learning-rate", "1e-4")
    base = TrainSettings(seed=7, batch_size=2)
    settings = from_arguments(TrainSettings, given_flags, base)
    assert settings == dataclasses.replace(base, batch_size=4, share=False, learning_rate=1e-4)
    assert from_arguments(LisaSettings, parse(LisaSettings, "--taps", "down_3+mid")).taps == ("down_3", "mid")
    assert from_arguments(Sample, parse(Sample, "--rate", "")).rate is None


def test_a_wrong_flag_ends_with_the_sentence(capsys):
    with pytest.raises(SystemExit):
        parse(TrainSettings, "--steps", "0")
    assert "steps is 0, but must be a whole number, 1..10000000 steps." in capsys.readouterr().err


def test_help_shows_unit_range_and_default():
    parser = argparse.ArgumentParser()
    add_arguments(parser, TrainSettings, skip=("family",))
    text = " ".join(parser.format_help().split())
    assert "Length of the run (default: 200 steps, range 1..10000000)" in text
    assert "(default: no, one of no, bf16 or fp16)" in text
    assert "--family" not in text


def test_arms_presets_and_changes():
    arms = parse_arms("baseline, lisa,two:weight=0.5:taps=down_3+mid:schedule=cutoff")
    assert [arm.name for arm in arms] == ["baseline", "lisa", "two"]
    assert arms[0].lisa == LisaSettings(weight=0.0)
    assert arms[1].lisa == LisaSettings()
    assert arms[2].lisa == LisaSettings(weight=0.5, taps=("down_3", "mid"), schedule="cutoff")


def test_arms_start_from_the_given_defaults():
    defaults = LisaSettings(weight=3.0, width=32)
    baseline, lisa, wide = parse_arms("baseline,lisa,wide:width=128", defaults)
    assert baseline.lisa == dataclasses.replace(defaults, weight=0.0)
    assert lisa.lisa == defaults
    assert wide.lisa == dataclasses.replace(defaults, width=128)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "no name"),
        ("lisa,", "no name"),
        ("lisa,lisa", "listed twice"),
        ("other", "Unknown arm 'other'"),
        ("a:weigth=1", "did you mean weight"),
        ("a:weight", "weight=VALUE"),
        ("a:weight=1:weight=2", "once"),
        ("a:weight=nan", "weight is nan"),
        ("a:weight=much", "weight is 'much'"),
        ("a:schedule=never", "constant, warmup, decay or cutoff"),
        ("baseline:weight=0.1", "baseline has weight 0"),
        ("../up:weight=1", "Arm name '../up'"),
        ("A:weight=1", "Arm name 'A'"),
    ],
)
def test_wrong_arms_are_one_sentence(text, sentence):
    with pytest.raises(LisaError) as caught:
        parse_arms(text)
    assert sentence in str(caught.value)


def test_schedules_give_the_weight_they_promise():
    def weights(schedule, span):
        lisa = LisaSettings(weight=2.0, schedule=schedule, schedule_steps=span)
        return [lisa.weight_at(step, 10) for step in range(6)]

    assert weights("constant", 4) == [2, 2, 2, 2, 2, 2]
    assert weights("warmup", 4) == [0.5, 1, 1.5, 2, 2, 2]
    assert weights("decay", 4) == [2, 1.5, 1, 0.5, 0, 0]
    assert weights("cutoff", 4) == [2, 2, 2, 2, 0, 0]


@pytest.mark.parametrize(("schedule", "full", "zero"), [("warmup", 9, None), ("decay", 0, 100), ("cutoff", 49, 50)])
def test_schedule_steps_0_follows_the_length_of_the_run(schedule, full, zero):
    lisa = LisaSettings(weight=1.0, schedule=schedule)
    assert lisa.weight_at(full, 100) == 1.0
    if zero is not None:
        assert lisa.weight_at(zero, 100) == 0.0
    assert LisaSettings(weight=0.0, schedule=schedule).weight_at(full, 100) == 0.0
