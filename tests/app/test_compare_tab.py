"""What the Compare tab answers, without a server: settings that come back, maps that arrive, grids, blind tests."""

from __future__ import annotations

import json
from dataclasses import replace

import gradio as gr
import pytest
from PIL import Image

from app.shared import Carried, Shared
from app.tabs._compare_blind import NEITHER, Blind, start_over
from app.tabs._compare_page import NO_PAIRS, Shown
from app.tabs._compare_settings import keep
from app.tabs.compare import Compare
from lisa.errors import LisaError
from lisa.lab import PairView
from lisa.settings import GenerateSettings
from lisa.strips import strip
from tests.app.fake_lab import CLIPS, FAMILY, FRAMES, ClipLab

DEPTH = "checkpoints/side/depth"


@pytest.fixture(scope="module")
def lab() -> ClipLab:
    return ClipLab()


@pytest.fixture(scope="module")
def tab(lab) -> Compare:
    with gr.Blocks() as page, gr.Tabs() as tabs, gr.Tab() as opened:
        return Compare(lab, Shared(page, tabs, opened, gr.State()))


@pytest.fixture
def still(lab) -> Image.Image:
    return lab.render_scene(0).maps["depth"]


@pytest.fixture
def moving(lab) -> Image.Image:
    return lab.render_scene(0, FRAMES).maps["canny"]


def form(tab, **changes):
    return {**{name: field.value for name, field in tab.ui.fields.items()}, **changes}


def value(change):
    """What a component becomes, which is told by an update or plainly."""
    return change.get("value") if isinstance(change, dict) else change


def filled(tab, changes) -> dict:
    names = {id(field): name for name, field in tab.ui.fields.items()}
    names |= {id(box): side for box, side in zip(tab.ui.arms, ("left", "right"), strict=True)}
    return {names[id(field)]: value(change) for field, change in changes.items() if id(field) in names}


def test_every_setting_of_a_png_comes_back(tab):
    settings = GenerateSettings(
        condition="depth", arms="wide", prompt="a cone", negative_prompt="fog", seed=5, steps=7, guidance=2.0,
        strength=0.5, control_start=0.1, control_end=0.6, checkpoint="step-000030", run="runs/trial",
        second_run=DEPTH, second_checkpoint="step-000400", second_strength=0.75, width=192, height=64,
    )  # fmt: skip
    changes, lost = tab.settings_back.fill(settings)
    assert not lost
    got = filled(tab, changes)
    assert {got.pop("left"), got.pop("right")} == {"baseline", "wide"}
    assert got == {name: getattr(settings, name) for name in tab.ui.fields}
    assert changes[tab.ui.second.accordion].open


def test_both_arms_come_back_on_their_sides_where_both_are_known(tab):
    changes, _ = tab.settings_back.fill(GenerateSettings(run="runs/trial", condition="depth", arms="lisa,wide"))
    assert [filled(tab, changes)[side] for side in ("left", "right")] == ["lisa", "wide"]
    changes, _ = tab.settings_back.fill(GenerateSettings(run="runs/trial", condition="depth", arms="lisa"))
    assert [filled(tab, changes)[side] for side in ("left", "right")] == ["baseline", "lisa"]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"run": "runs/gone"}, "The run runs/gone is not here: the pair is depth, 4000 steps now."),
        ({"condition": "fog"}, "No pair for fog maps is here: it is canny, 4000 steps now."),
        ({"run": DEPTH, "checkpoint": "step-000300"}, "Training step 300 is not here: it is 4,000 now."),
        ({"run": DEPTH, "arms": "narrow"}, "Narrow is not here: it is left out."),
        ({"second_run": "runs/gone"}, "The second run runs/gone is not here: there is no second condition now."),
        (
            {"second_run": DEPTH, "second_checkpoint": "step-000007"},
            "The second pair's training step 7 is not here: it is 4,000 now.",
        ),
        (
            {"family": "sd15", "condition": "hed"},
            "There is no pair hed of the family sd15 here: family and pair stay as they are.",
        ),
    ],
)
def test_what_cannot_come_back_is_named_and_the_rest_does(tab, tmp_path, changed, told):
    settings = replace(GenerateSettings(condition="depth", arms="lisa", seed=11), **changed)
    changes, lost = tab.settings_back.fill(settings)
    assert lost == [told]
    assert filled(tab, changes)["seed"] == 11
    path = tmp_path / "one.png"
    tab.lab.save(tab.lab.generate(settings, Image.new("RGB", (8, 8)))[0], path)
    answer = tab.settings_back.take(str(path))
    assert told in answer[tab.ui.png_words] and "except for this" in answer[tab.ui.png_words]


def test_a_png_unticks_the_random_seed(tab, tmp_path):
    with Image.open(tab.ui.downloads[1].value["path"]) as image:
        assert json.loads(image.text["lisa"])["arms"] == "lisa"  # the shipped example can be downloaded
    answer = tab.settings_back.take(tab.ui.downloads[1].value["path"])
    assert answer[tab.ui.random_seed] is False and "**The settings are back**." in answer[tab.ui.png_words]


def test_the_browser_gives_the_form_back_once(tab):
    kept = keep(True, "lisa", "wide", **form(tab, prompt="a long prompt", run="runs/trial", checkpoint="step-000030"))
    kept = json.loads(json.dumps(kept))
    answer = tab.settings_back.give_back(True, kept)
    got = filled(tab, answer)
    assert (got["prompt"], got["run"], got["checkpoint"]) == ("a long prompt", "runs/trial", "step-000030")
    assert (got["left"], got["right"]) == ("lisa", "wide") and answer[tab.ui.random_seed] is True
    assert "Your settings are back" in answer[tab.ui.hint] and "except" not in answer[tab.ui.hint]
    assert tab.settings_back.give_back(False, kept) == {tab.settings_back.first: False}


@pytest.mark.parametrize(
    "kept", [None, [], "x", {}, {"settings": 1}, {"settings": {"hue": 1}}, {"settings": {"seed": -1}}]
)
def test_what_the_browser_kept_of_another_version_is_passed_over(tab, kept):
    assert tab.settings_back.give_back(True, kept) == {tab.settings_back.first: False}


def test_a_kept_run_that_is_gone_is_named(tab):
    kept = keep(False, "baseline", "lisa", **form(tab, run="runs/gone", prompt="a cone"))
    answer = tab.settings_back.give_back(True, kept)
    assert "The run runs/gone is not here" in answer[tab.ui.hint] and filled(tab, answer)["prompt"] == "a cone"


def test_a_clip_goes_to_a_family_that_makes_clips_and_says_so(tab, moving):
    answer = tab.maps.receive(Carried(moving, "canny", "a cone"), FAMILY)
    got = filled(tab, answer)
    assert (got["family"], got["run"]) == (CLIPS, "checkpoints/moving/canny")
    assert "the family is **Scenes in motion** now" in answer[tab.ui.hint]
    answer = tab.maps.receive(Carried(moving, "canny", ""), CLIPS)
    assert "family" not in filled(tab, answer) and answer[tab.ui.hint] == ""


def test_a_clip_that_no_family_can_draw_from_is_told(tab, moving):
    for second in (False, True):
        answer = tab.maps.receive(Carried(moving, "pose", "", second), FAMILY)
        assert "is a clip of 8 frames, but **Scenes UNet** makes single pictures" in answer[tab.ui.hint]
    assert "is a clip of 8 frames" in tab.maps.judge(moving, FAMILY)


def test_maps_of_another_shape_are_told(tab, still):
    assert tab.maps.judge(still, FAMILY) == ""
    wide = still.resize((192, 128))
    assert "192 x 128 pixels and is squeezed" in tab.maps.judge(wide, FAMILY)
    assert "192 x 128 pixels and is squeezed" in tab.maps.receive(Carried(wide, "depth", ""), FAMILY)[tab.ui.hint]
    assert "all 8 frames of a clip follow it" in tab.maps.judge(still, CLIPS)


def test_a_wide_picture_is_no_clip_and_stays_when_the_family_changes(tab, still):
    pair = tab.lab.pairs(FAMILY)[0]
    map_, caption, _ = tab.maps.fitting(FAMILY, pair, still.resize((192, 128)))
    assert map_ == caption == gr.skip()


def test_a_map_that_is_replaced_is_replaced_with_a_word(tab, still, moving):
    for family, map_ in ((CLIPS, still), (FAMILY, moving)):
        *_, hint, condition, prompt = tab.choose_family(family, map_)
        assert isinstance(condition, Image.Image) and isinstance(prompt, str)
        assert "condition and prompt are those of a scene" in hint


def test_a_second_condition_says_where_it_lies(tab, still):
    answer = tab.maps.receive(Carried(still, "depth", "", True), FAMILY)
    assert answer[tab.ui.second.map] is still and answer[tab.ui.second.accordion].open
    assert answer[tab.ui.hint] == (
        "The **depth** map lies under **A second condition** now, with the pair *depth, 4000 steps*."
    )
    assert "no pair of this family" in tab.maps.receive(Carried(still, "fog", "", True), FAMILY)[tab.ui.hint]


def test_the_player_follows_the_pictures_that_are_shown(tab, still, moving):
    pair = (still, still)
    assert tab.maps.play(CLIPS, still, Shown(still, pair)) == ""
    assert "The condition map is a clip" in tab.maps.play(CLIPS, moving, Shown(still, pair))
    for family in (CLIPS, FAMILY):
        shown = Shown(moving, (strip([still] * FRAMES),) * 2, FRAMES)
        assert f"All {FRAMES} frames play" in tab.maps.play(family, still, shown)


def test_a_family_without_a_pair_points_to_the_tabs(tab):
    *_, hint, _, _ = tab.choose_family("sd15", None)
    assert hint == NO_PAIRS and "**Train** tab" in hint and "python" not in hint


def variants(tab, knob, values, **changes):
    return tab.grid.variants(replace(GenerateSettings(run=DEPTH, condition="depth"), **changes), knob, values)


@pytest.mark.parametrize(
    ("knob", "values", "captions"),
    [
        ("Control strength", "1, 1.0, 0.5", ["strength 1", "strength 0.5"]),
        ("Seed", "3", ["seed 3"]),
        ("Training step", "400, step-000400, 1000", ["training step 400", "training step 1,000"]),
        ("Training step", "", [f"training step {step:,}" for step in (200, 400, 1000, 2000, 4000)]),
        ("Arm: lambda or tap", "lisa,lisa", [""]),
    ],
)
def test_a_grid_draws_each_value_once_and_names_its_setting(tab, knob, values, captions):
    assert [caption for caption, _ in variants(tab, knob, values)] == captions


@pytest.mark.parametrize(
    ("knob", "values", "told"),
    [
        ("Training step", "step-abc", "There is no training step 'step-abc': choose of 200, 400, 1000, 2000, 4000."),
        ("Training step", "300", "There is no training step '300'"),
        ("Training step", "9" * 5000, "There is no training step"),
        ("Control strength", "nan", "Control strength is nan, but must be a number, 0..2."),
        ("Seed", "1.5", "Seed is '1.5', but must be a whole number, 0..4294967295."),
        ("Sampling steps", "0", "Sampling steps is 0, but must be a whole number, 1..1000 steps."),
        ("Seed", " , ", "There are 0 different values"),
        ("Seed", ",".join(map(str, range(13))), "There are 13 different values: give 1 to 12"),
    ],
)
def test_a_wrong_value_of_a_grid_is_told_in_the_words_of_the_form(tab, knob, values, told):
    with pytest.raises(LisaError) as caught:
        variants(tab, knob, values)
    assert told in str(caught.value)


def show(tab, blind, **changes) -> Blind:
    condition = tab.lab.render_scene(0).maps["depth"]
    values = form(tab, **{"run": DEPTH, "checkpoint": "step-004000", **changes})
    return next(
        x for x in tab.blind.show(condition, None, None, "baseline", "lisa", blind, **values) if isinstance(x, Blind)
    )


def test_votes_are_counted_apart_for_each_pair_and_step_and_can_be_forgotten(tab):
    first = show(tab, Blind())
    blind, *_, tally, over = tab.blind.voting(2)(first)
    assert f"{NEITHER} 1" in tally and "training step 4,000" in tally and over["interactive"]
    blind, *_, tally, _ = tab.blind.voting(0)(show(tab, blind, checkpoint="step-000200"))
    assert NEITHER not in tally and "training step 200" in tally
    blind, *_, tally, _ = tab.blind.voting(2)(show(tab, blind))
    assert f"{NEITHER} 2" in tally
    blind, *_, tally, over = start_over(blind)
    assert "No votes yet on" in tally and not over["interactive"]
    _, *_, tally, _ = tab.blind.voting(2)(show(tab, blind, checkpoint="step-000200"))
    assert f"{NEITHER} 1" in tally and ("Baseline 1" in tally or "LISA 1" in tally)


def test_a_vote_without_a_pair_is_told(tab):
    with pytest.raises(LisaError, match="press Show a pair first"):
        tab.blind.voting(0)(Blind())


def test_a_prompt_that_is_cut_is_told_in_the_status_line(tab, still):
    for words, told in ((50, "**Prompt cut**: it has 50 tokens, of which the first 38 were read"), (3, "")):
        values = form(tab, run=DEPTH, checkpoint="step-004000", prompt="red " * words)
        status = tab.generate(still, False, "baseline", "lisa", **values)[7]
        assert "Done in" in status and told in status and ("cut" in status) == bool(told)


def test_clips_that_go_on_from_a_picture_get_one(tab, lab, moving, still, monkeypatch):
    panel, picture = tab.ui.start.choose(CLIPS, None)
    assert not panel["visible"] and picture is None
    views = [replace(view, starts_from_picture=view.name == CLIPS) for view in lab.families()]
    monkeypatch.setattr(lab, "families", lambda: views)
    panel, picture = tab.ui.start.choose(CLIPS, None)
    assert panel["visible"] and picture.tobytes() == lab.render_scene(0, FRAMES).image.crop((0, 0, 128, 128)).tobytes()
    assert tab.ui.start.choose(CLIPS, still)[1] is still, "what is there stays"
    values = form(tab, family=CLIPS, run="checkpoints/moving/canny", checkpoint="step-000060")
    tab.generate(moving, False, "baseline", "lisa", None, picture, **values)
    tab.generate(still, False, "baseline", "lisa", None, picture, **form(tab))
    assert lab.starts[-2:] == [picture, None], "another family has no use for it"


def test_a_grid_takes_the_only_step_of_an_imported_network(tab, lab, monkeypatch):
    imported = PairView("runs/theirs", "canny, imported", FAMILY, "canny", ("imported",), (0,))
    monkeypatch.setattr(lab, "pairs", lambda *_: (imported,))
    settings = GenerateSettings(run=imported.id, arms="imported")
    assert [each.checkpoint for _, each in tab.grid.variants(settings, "Training step", "")] == ["step-000000"]
