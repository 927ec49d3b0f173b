"""What keeps a run from starting is told before there is a folder, without torch."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
from PIL import Image

from lisa.errors import LisaError
from lisa.ready import check_ready, side_taps
from lisa.settings import TrainSettings
from tests import tiny
from tests.families import contract


@pytest.fixture
def settings():
    return TrainSettings(source=str(tiny.folder("scenes-unet")))


@pytest.mark.parametrize("kind", contract.KINDS)
def test_taps_are_known_from_the_config_alone(kind):
    family = contract.family(kind)
    names = tuple(tap.name for tap in family.taps(family.new_side(0)))
    assert side_taps(family.spec, contract.folder(kind)) == names


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"family": "scenes-unett"}, "did you mean scenes-unet"),
        ({"condition": "cannny"}, "cannny"),
        ({"arms": "baseline,lisa:taps=nonsense"}, "Unknown tap of arm lisa 'nonsense': use one of down_0, "),
        ({"arms": "baseline,lisa:taps=down_0+midd"}, "did you mean mid"),
        ({"source": "no/such/folder"}, "There is no folder 'no/such/folder'"),
        ({"start": "no/such/folder"}, "There is no folder 'no/such/folder'"),
    ],
)
def test_slips_are_told(settings, changes, told):
    with pytest.raises(LisaError) as caught:
        check_ready(replace(settings, **changes))
    assert told in str(caught.value)


def test_what_is_right_or_not_known_here_passes(settings, tmp_path):
    check_ready(settings)
    check_ready(replace(settings, arms="baseline,lisa:taps=down_1+mid"))
    # Of a network that is not on this machine, and of a side network from elsewhere, the layers are not known.
    check_ready(TrainSettings(family="sd15", source="owner/nowhere", arms="baseline,lisa:taps=block_7"))
    check_ready(replace(settings, start=str(tmp_path), arms="baseline,lisa:taps=block_7"))
    for i in range(10):
        Image.new("RGB", (64, 64)).save(tmp_path / f"{i}.png")
    check_ready(replace(settings, data=str(tmp_path)))
    with pytest.raises(LisaError, match="segmentationn"):
        check_ready(replace(settings, data=str(tmp_path), condition="segmentationn"))


def test_nothing_heavy_is_loaded():
    code = (
        "import sys\nfrom lisa.ready import check_ready\nfrom lisa.settings import TrainSettings\n"
        "check_ready(TrainSettings(family='sd15', source='owner/nowhere'))\nprint('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"
