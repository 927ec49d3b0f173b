"""A run of one arm, as an import makes it, on every tab that lists runs; with a real, tiny network."""

from __future__ import annotations

import gradio as gr
import pytest
from PIL import Image

from app.shared import Shared
from app.sides import two_sides
from app.tabs.compare import Compare
from app.tabs.evaluate import Evaluate
from app.tabs.features import Features
from app.tabs.train import Train
from lisa.lab import Lab
from tests import tiny

KIND, RUN = "scenes-unet", "runs/mine"


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lab")
    tiny.open_control(tiny.family(KIND).new_side(0)).save_pretrained(folder / "theirs")
    lab = Lab(folder / "root")
    lab.models.import_side(str(folder / "theirs"), KIND, "canny", "mine", main=str(tiny.folder(KIND)))
    return lab


@pytest.fixture
def draw(lab):
    def drawn(tab):
        with gr.Blocks() as page, gr.Tabs() as tabs, gr.Tab() as opened:
            return tab(lab, Shared(page, tabs, opened, gr.State()))

    return drawn


def test_compare_shows_the_only_arm_on_both_sides(lab, draw):
    (pair,) = lab.pairs()
    assert two_sides(pair) == ("imported", "imported")
    tab = draw(Compare)
    values = {name: field.value for name, field in tab.ui.fields.items()}
    values |= {"run": RUN, "steps": 2, "width": 64, "height": 64, "checkpoint": "", "prompt": "a cube"}
    condition = Image.new("RGB", (64, 64), "white")
    fields = {name: values[name] for name in tab.ui.fields}
    shown = tab.generate(condition, False, *two_sides(pair), **fields)[-1]
    assert shown.images[0].tobytes() == shown.images[1].tobytes()


def test_features_have_one_column_for_the_only_arm(draw):
    tab = draw(Features)
    values = {name: field.value for name, field in tab.ui.fields.items()}
    values |= {"run": RUN, "checkpoint": "", "scenes": 8, "noises": 1, "timesteps": "500", "method": "pca"}
    study, asked, colour, tap, *_ = tab.look(None, **values)
    assert tap["value"] == "down_0"  # where the family is aligned by default
    _, _, table = tab.draw(study, asked, colour["value"], tap["value"], 0)
    assert table.headers == ["Measure", "Of", "Imported", "Chance (Imported)"]
    rows = table.value["data"] if isinstance(table.value, dict) else table.value
    assert rows and all(len(row) == 4 for row in rows)


def test_training_says_why_it_cannot_be_resumed(draw):
    tab = draw(Train)
    status, _, resume, *_ = tab.look(RUN, 0.9, False)
    assert "not trained here" in status and "imported from the folder theirs" in status and "optimizer" in status
    assert not resume["interactive"]


def test_evaluate_lists_it_and_may_measure_it(draw):
    tab = draw(Evaluate)
    assert (tab.run.choices, tab.run.value) == ([("mine: canny, imported", RUN)], RUN)
    status, *_, button, _, _ = tab.look(RUN)
    assert "not been measured yet" in status and button["interactive"]
