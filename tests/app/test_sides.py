"""Side networks as people read them, and what can stand beside what."""

from __future__ import annotations

import pytest

from app.sides import arm_heading, side_choices, title_of, two_sides
from lisa.lab import PairView

MINE = PairView("runs/mine", "canny, 20 steps (mine)", "scenes-unet", "canny", ("baseline", "lisa"), (10, 20))
THEIRS = PairView("runs/theirs", "canny, imported (theirs)", "scenes-unet", "canny", ("imported",), (0,))
DEPTH = PairView("runs/depth", "depth, 20 steps (depth)", "scenes-unet", "depth", ("lisa",), (20,))
PAIRS = (MINE, THEIRS, DEPTH)


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("lisa", "LISA"),
        ("baseline", "Baseline"),
        ("lisa@step-001000", "LISA, step 1,000"),
        ("runs/first:baseline", "Baseline of first"),
        ("checkpoints/scenes-unet/canny:lisa@step-000100", "LISA of scenes-unet/canny, step 100"),
    ],
)
def test_names_for_people(name, title):
    assert title_of(name) == title and title in arm_heading(name)


def test_a_networks_colour_is_its_arms():
    assert 'class="heading baseline"' in arm_heading("runs/first:baseline@step-000100")
    assert 'class="heading lisa"' in arm_heading("runs/first:lisa")


def test_earlier_steps_and_other_runs_of_the_condition_can_stand_beside_a_pair():
    names = [name for _, name in side_choices(MINE, PAIRS)]
    assert names == ["baseline", "lisa", "baseline@step-000010", "lisa@step-000010", "runs/theirs:imported"]


def test_a_lone_network_meets_one_of_another_run():
    assert two_sides(MINE, PAIRS) == ("baseline", "lisa")
    assert two_sides(THEIRS, PAIRS) == ("imported", "runs/mine:lisa")
    assert two_sides(THEIRS) == ("imported", "imported")
    assert two_sides(None) == ("baseline", "lisa")
