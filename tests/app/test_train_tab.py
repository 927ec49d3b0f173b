"""The Train tab's data part, without a server: what is said of a plan, and what an upload does."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import fields, replace

import gradio as gr
import numpy as np
import pytest
from PIL import Image

import app.build
from app.curves import differences
from app.guard import UNFORESEEN, guarded
from app.shared import Shared
from app.tabs._train_page import Turn
from app.tabs._train_plan import plan_words
from app.tabs.train import Train
from lisa import spawn
from lisa.data.check import DataReport
from lisa.errors import LisaError
from lisa.options import to_dict
from lisa.plan import Estimate, Footprint, Memory, Plan, StepCost
from lisa.rundesk import RunDesk
from lisa.runs import RunFolder
from lisa.settings import LisaSettings, TrainSettings, parse_arms
from tests.app.fake_lab import FakeLab

SETTINGS = TrainSettings(steps=200)
REPORT = DataReport(
    "photos", "depth", 120, 108, 12, captioned=90, brought=30, annotator="midas", smallest=(80, 64), small=5,
    resolution=128, looked_at=120, faulty_rows=11, faulty=(("a`[b](http://x).png", "cannot be read"),),
)  # fmt: skip
PICTURE = Image.new("RGB", (8, 8))
FOOTPRINT = Footprint(
    "owner/large", 11_901_408_320, 2_046_461_952, 5_730_832, 4_969_190_819, 300_000_000_000_000,
    StepCost(70_000_000_000_000, 200_000_000_000_000, 274_000_000_000_000, 272_000_000_000_000),
    Memory(64_000_000_000, 16_000_000_000, 32_000_000_000, 40_000_000_000, 152_000_000_000, 67_000_000_000),
    "cuda:0", 100e12,
)  # fmt: skip
ESTIMATE = Estimate("cpu", 1_900_000, 0.5, 2.0, 1.0, 3725.0, 2_400_000_000, 30_000_000)


@pytest.fixture
def tab(tmp_path, monkeypatch) -> Train:
    monkeypatch.setenv("LISA_CACHE", str(tmp_path / "cache"))
    with gr.Blocks() as page, gr.Tabs() as tabs, gr.Tab() as opened:
        return Train(FakeLab(root=tmp_path), Shared(page, tabs, opened, gr.State()))


def form(tab: Train, **values) -> dict:
    return {**{name: field.value for name, field in tab.ui.fields.items()}, **values}


def knobs(tab: Train, **values) -> list:
    return [values.get(name, knob.value) for name, knob in tab.ui.knobs.items()]


def run_of(tab: Train, name: str = "mine", **values) -> str:
    RunFolder.create(tab.lab.root / "runs" / name, to_dict(TrainSettings(**values)))
    return f"runs/{name}"


def cloned(tab: Train, run: str) -> tuple[str, str, dict, dict, object]:
    """Taps, arms, knobs and fields as the form holds them after a clone, and what became of the expert settings."""
    ui, out = tab.ui, list(tab.clone(run))
    fields = dict(zip(ui.fields, out, strict=False))
    arms, taps, *rest = out[len(ui.fields) :]
    return taps, arms, dict(zip(ui.knobs, rest, strict=False)), fields, rest[-1]


def test_a_plan_is_told_as_it_becomes_known():
    first = plan_words("python -m lisa train", SETTINGS)
    assert first == "This will run:\n```bash\npython -m lisa train\n```"
    words = plan_words("x", SETTINGS, Plan("loading networks", REPORT))
    assert (
        "120 pictures, 108 to train on and 12 held out, 90 with a caption" in words and "*loading networks …*" in words
    )
    assert "smallest has 80 x 64" in words and "5 are smaller than the 128 pixels" in words
    assert "30 bring their own depth map. The annotator midas makes the depth maps of the others." in words
    assert "**11 faulty**" in words and "- `a'[b](http://x).png`: `cannot be read`" in words
    words = plan_words("x", SETTINGS, Plan("", REPORT, None, ESTIMATE), beside="runs/first")
    assert "**1 h 2 min**, at 0.5 s for each of 200 steps" in words and "while runs/first is trained" in words
    assert "2.4 GB of main memory" in words and "up to 30 MB" in words and "1.9 million parameters" in words
    assert "GPU memory" in plan_words("x", SETTINGS, Plan("", None, None, replace(ESTIMATE, device="cuda:0")))


def test_what_a_run_takes_is_told_without_its_weights():
    words = plan_words("x", SETTINGS, Plan("", None, FOOTPRINT))
    assert "as published for `owner/large`, which is not whole on this machine" in words
    assert "main network 11,901 million" in words and "decoder 5.7e+06" not in words and "5.7 million" in words
    assert "300 TFLOP for a step of all arms" in words and "takes 200 TFLOP" in words
    assert "LISA adds 37 % when nothing is shared and 36 % when" in words and "as this run does." in words
    assert "152.0 GB at the most, of which weights 64.0 GB, gradients 16.0 GB, optimizer 32.0 GB" in words
    assert "**Time** was not measured" in words and "at least 3 s" in words and "100 TFLOP per second" in words


def test_memory_is_told_for_where_the_run_would_be():
    assert "by the tensors** on a GPU" in plan_words("x", SETTINGS, Plan("", None, FOOTPRINT))
    assert "by the tensors** on the CPU" in plan_words("x", SETTINGS, Plan("", None, replace(FOOTPRINT, device="cpu")))


def test_the_assumed_time_is_only_told_where_none_is_measured():
    measured = plan_words("x", replace(SETTINGS, share=False, device="cpu"), Plan("", None, FOOTPRINT, ESTIMATE))
    assert "was not measured" not in measured and "as this run does not." in measured and "** on the CPU" in measured
    assert "was not measured" not in plan_words("x", SETTINGS, Plan("measuring steps", None, FOOTPRINT))
    unknown = plan_words("x", SETTINGS, Plan("", None, replace(FOOTPRINT, published="", device="", matrix_speed=0.0)))
    assert "neither the weights nor the device" in unknown and "by configs" in unknown


def test_what_keeps_a_run_from_starting_is_told():
    stuck = replace(REPORT, problem="There is no map.", faulty_rows=0, faulty=())
    assert "**This cannot run yet.** There is no map." in plan_words("x", SETTINGS, Plan("", stuck))
    assert "**This cannot run yet.** No weights." in plan_words("x", SETTINGS, Plan(failure="No weights."))


def test_scenes_are_told_as_rendered():
    scenes = DataReport("scenes", "depth", 2048, 2048, 0, 2048, 2048, "", (128, 128), resolution=128, cached=256)
    words = plan_words("x", SETTINGS, Plan("", scenes))
    assert "2,048 scenes, rendered on demand; 256 of the world's are cached. 2,048 bring their own depth map." in words


def test_the_command_comes_first_and_the_plan_follows(tab, monkeypatch):
    asked = []

    def plan(desk, settings):
        asked.append(settings)
        yield Plan("starting")
        yield Plan("", REPORT, FOOTPRINT, ESTIMATE)

    monkeypatch.setattr(RunDesk, "plan", plan)
    told = tab.plan(Turn(), "", "", "baseline", *knobs(tab), **form(tab, data="photos", steps=7))
    assert "train --arms baseline --steps 7 --data photos --run runs/canny-1" in next(told) and not asked
    assert "*starting …*" in next(told) and asked[0].data == "photos"
    assert "**Memory**" in next(told)


def test_plans_are_made_one_at_a_time_and_an_earlier_one_of_the_same_page_ends(tab, monkeypatch):
    ended = []

    def plan(desk, settings):
        try:
            while True:
                yield Plan("counting")
        finally:
            ended.append(settings.steps)

    monkeypatch.setattr(RunDesk, "plan", plan)
    own, other = Turn(), Turn()
    first = tab.plan(own, "", "", "baseline", *knobs(tab), **form(tab, steps=1))
    assert next(first) and "*counting …*" in next(first)
    elsewhere = tab.plan(other, "", "", "baseline", *knobs(tab), **form(tab, steps=2))
    assert next(elsewhere) and "waiting until another plan is made" in next(elsewhere)
    second = tab.plan(own, "", "", "baseline", *knobs(tab), **form(tab, steps=3))
    assert "--steps 3" in next(second) and list(first) == [gr.skip()] and ended == [1]
    assert "*counting …*" in next(elsewhere)
    elsewhere.close()
    assert "*counting …*" in next(second) and ended == [1, 2]


def test_a_zip_fills_the_data_field(tab, tmp_path):
    (tmp_path / "set").mkdir()
    for i in range(10):
        Image.new("RGB", (16, 16), (i, 0, 0)).save(tmp_path / "set" / f"{i}.png")
    folder, words = tab.add_data(shutil.make_archive(str(tmp_path / "set"), "zip", tmp_path / "set"), "canny")
    assert folder.startswith(str(tmp_path / "cache" / "data"))
    assert words == "**Data**: 10 pictures, 9 to train on and 1 held out, 0 with a caption."
    with pytest.raises(LisaError, match="no file yet"):
        tab.add_data(None, "canny")


def test_conditions_are_those_of_the_registry_and_any_other_can_be_written(tab):
    condition = tab.ui.fields["condition"]
    names = [value for _, value in condition.choices]
    assert names == list(tab.lab.training.conditions()) and condition.allow_custom_value


def test_a_family_brings_its_own_lambda_and_taps(tab, monkeypatch):
    moved = replace(tab.lab.families()[0], name="flow", lisa=LisaSettings(weight=0.7, taps=("block_1", "block_2")))
    monkeypatch.setattr(FakeLab, "families", lambda lab: (moved,))
    assert tab.choose_family("flow") == (0.7, "block_1+block_2")
    # Without taps the arm says nothing of them, and so takes the family's.
    assert tab._settings("", "", tuple(knobs(tab, weight=0.7)), form(tab)).arms == "baseline,lisa:weight=0.7"


def test_every_setting_stands_in_the_form(tab):
    assert {*tab.ui.fields, "arms"} == {field.name for field in fields(TrainSettings)}


EVERYTHING = {
    "family": "scenes-unet", "condition": "depth", "steps": 31, "batch_size": 3, "accumulation": 2,
    "learning_rate": 0.002, "warmup_steps": 5, "rate_schedule": "cosine", "clip_norm": 0.5, "weight_decay": 0.2,
    "seed": 11, "precision": "bf16", "gradient_checkpointing": True, "caption_dropout": 0.3, "validate_every": 7,
    "validation_samples": 9, "checkpoint_every": 8, "preview_every": 6, "previews": 2, "source": "owner/net",
    "revision": "abc", "start": "side", "data": "photos", "samples": 77, "share": False, "device": "cpu",
}  # fmt: skip


@pytest.mark.parametrize(
    "arms",
    [
        "baseline,lisa",
        "baseline,lisa:weight=0.9:schedule=decay:schedule_steps=10:width=32:distance=cosine:taps=down_1+mid",
        "baseline,lisa:weight=0.3:timestep_weighting=snr",
        "baseline",
        "baseline,weak:weight=0.1,strong:weight=2:taps=mid",
        "baseline:taps=mid,lisa",
        "zeta:weight=0,alpha:weight=0.5:taps=down_0",
    ],
)
def test_all_that_a_run_was_comes_back_with_its_clone(tab, arms):
    assert {*EVERYTHING, "arms"} == {field.name for field in fields(TrainSettings)}
    before = TrainSettings(**EVERYTHING, arms=arms)
    taps, text, given, values, _ = cloned(tab, run_of(tab, **EVERYTHING, arms=arms))
    given = [tab.ui.knobs[name].value if value == gr.skip() else value for name, value in given.items()]
    after = tab._settings("" if taps == gr.skip() else taps, text, tuple(given), values)
    usual = tab.lab.families()[0].lisa
    assert parse_arms(after.arms, usual) == parse_arms(before.arms, usual)
    assert replace(after, arms=arms) == before


def test_a_plain_pair_comes_back_into_lambda_and_taps_and_what_is_typed_there_runs(tab):
    run = run_of(tab, arms="baseline,lisa:weight=0.3:taps=down_1+mid:distance=cosine")
    taps, arms, given, values, _ = cloned(tab, run)
    assert (taps, arms, given["weight"], given["distance"]) == ("down_1+mid", "", 0.3, "cosine")
    typed = tuple({**given, "weight": 2.5}.values())
    assert tab._settings("down_0", arms, typed, values).arms == "baseline,lisa:weight=2.5:distance=cosine:taps=down_0"


def test_more_arms_open_the_expert_settings_and_rule_there(tab):
    taps, arms, given, _, expert = cloned(tab, run_of(tab, arms="baseline,lisa,wide:width=128"))
    assert arms == "baseline,lisa,wide:width=128" and expert["open"] and taps == given["weight"] == gr.skip()
    words, *rest = tab.rule(arms)
    assert "no effect" in words and len(rest) == 7 and not any(each["interactive"] for each in rest)
    words, *rest = tab.rule(" ")
    assert words == "" and all(each["interactive"] for each in rest)


@pytest.mark.parametrize("arms", ["", "baseline,lisa"])
@pytest.mark.parametrize(
    ("taps", "changes", "told"),
    [
        ("", {"weight": 500}, "Lambda is 500"),
        ("", {"weight": None}, "Lambda is empty"),
        ("", {"width": 1}, "Decoder width is 1"),
        ("mid,other:weight=1", {}, "Taps is 'mid,other:weight=1'"),
    ],
)
def test_bad_values_beside_arms_are_refused_too(tab, arms, taps, changes, told):
    with pytest.raises(LisaError, match=re.escape(told)):
        tab._settings(taps, arms, tuple(knobs(tab, **changes)), form(tab))


def test_the_youngest_own_run_is_shown_on_loading(tab):
    run_of(tab, "old")
    os.utime(tab.lab.root / "runs" / "old" / "settings.json", (0, 0))
    RunFolder.create(tab.lab.root / "checkpoints" / "scenes-unet" / "canny", to_dict(TrainSettings()))
    run_of(tab, "young")
    assert tab.refresh()["value"] == "runs/young"
    assert "value" not in tab.relist("checkpoints/scenes-unet/canny"), "what is chosen stays"


def test_a_run_that_went_is_one_sentence_and_the_timer_rests(tab):
    status, *_, timer = tab.look("runs/gone", 0.9, False)
    assert status == "The run runs/gone is no longer there: choose another." and not timer.active
    assert tab.follow_samples("runs/gone", 0, None)[2] is None


def test_the_reference_is_named(tab):
    run = RunFolder(tab.lab.root / run_of(tab, arms="zeta:weight=0,alpha:weight=0.5:taps=down_0"))
    for step, theirs, own in ((0, 1.0, 1.0), (10, 0.8, 0.5)):
        for arm, value in (("zeta", theirs), ("alpha", own)):
            run.append_event({"kind": "validation", "step": step, "arm": arm, "control": value})
    words = tab.look("runs/mine", 0.9, False)[7]
    assert "Alpha reached Zeta's validation loss 0.8000" in words and "Zeta needed 10" in words
    assert "baseline" not in words


def test_a_run_that_took_no_step_gives_its_name_back(tab, monkeypatch):
    run = RunFolder(tab.lab.root / run_of(tab))
    run.write_state({"status": "failed", "reason": "Unknown tap."})
    assert "Unknown tap. It took no step, so its name is free" in tab.look("runs/mine", 0.9, False)[0]
    started = []
    monkeypatch.setattr(spawn, "spawn", lambda words, *_: started.append(words))
    with pytest.raises(LisaError, match="did you mean scenes-unet"):
        tab.start(Turn(), "mine", "", "", *knobs(tab), **form(tab, family="scenes-unett"))
    with pytest.raises(LisaError, match="cannny"):
        tab.start(Turn(), "other", "", "", *knobs(tab), **form(tab, condition="cannny"))
    assert not (tab.lab.root / "runs" / "other").exists()
    tab.start(Turn(), "mine", "", "", *knobs(tab), **form(tab, steps=3))
    assert started and RunFolder(run.path).settings()["steps"] == 3
    with pytest.raises(LisaError, match="already"):
        tab.start(Turn(), "mine", "", "", *knobs(tab), **form(tab))


def test_families_are_chosen_from_a_list(tab):
    assert ("Stable Diffusion 1.5 (not here)", "sd15") in tab.ui.fields["family"].choices


def test_paired_differences_leave_out_what_both_arms_share():
    noise = np.random.default_rng(0).normal(size=50)
    steps = np.arange(50)
    curves = {"baseline": (steps, noise), "lisa": (steps, noise - 0.25), "wide": (steps[:40], noise[:40] + 1)}
    made = differences(curves)
    assert list(made) == ["lisa", "wide"] and len(made["wide"][1]) == 40
    assert np.allclose(made["lisa"][1], -0.25) and np.allclose(made["wide"][1], 1)
    assert differences({}) == {} and differences({"imported": (steps, noise)}) == {}


def test_the_newest_samples_are_shown_until_the_slider_is_moved(tab, monkeypatch):
    kept = [100]
    monkeypatch.setattr(RunDesk, "has", lambda desk, run: True)
    monkeypatch.setattr(RunDesk, "sample_steps", lambda desk, run: tuple(kept))
    monkeypatch.setattr(RunDesk, "samples", lambda desk, run, step: ({"condition": PICTURE, "lisa": PICTURE},))
    slider, gallery, seen = tab.follow_samples("runs/a", 0, None)
    assert seen == ("runs/a", 100) and not slider["visible"] and gallery.value[0]["caption"] == "Condition, step 100"
    assert tab.follow_samples("runs/a", 100, seen) == (gr.skip(),) * 3
    kept.append(200)
    slider, gallery, seen = tab.follow_samples("runs/a", 100, seen)
    assert (slider["value"], slider["maximum"], slider["visible"]) == (200, 200, True)
    assert gallery.value[1]["caption"] == "LISA, step 200"
    kept.append(300)
    slider, gallery, seen = tab.follow_samples("runs/a", 100, seen)  # somebody looks at an earlier step
    assert (slider["value"], slider["maximum"]) == (100, 300) and gallery == gr.skip() and seen == ("runs/a", 300)
    slider, gallery, seen = tab.follow_samples("runs/b", 100, seen)
    assert slider["value"] == 300 and seen == ("runs/b", 300)
    kept.clear()
    assert tab.follow_samples("runs/b", 300, seen)[2] is None


def test_the_data_field_is_in_sight():
    page = app.build.build(FakeLab())
    (field,) = (block for block in page.blocks.values() if isinstance(block, gr.Textbox) and block.label == "Data")
    parent, around = field.parent, []
    while parent is not None:
        around.append(parent)
        parent = parent.parent
    assert not any(isinstance(block, gr.Accordion) for block in around)


def test_a_guarded_generator_fails_with_a_sentence():
    @guarded
    def work(error):
        yield 1
        raise error

    for error, told in ((LisaError("Too large."), "Too large."), (RuntimeError("secret"), UNFORESEEN)):
        steps = work(error)
        assert next(steps) == 1
        with pytest.raises(gr.Error) as caught:
            next(steps)
        assert caught.value.message == told
