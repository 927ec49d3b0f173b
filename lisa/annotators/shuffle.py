"""Content shuffle: colours and textures without the layout, as a condition for style."""

from __future__ import annotations

from lisa.annotators._detectors import RESOLUTION, Row
from lisa.annotators.base import Knob

Row(
    name="shuffle",
    title="Content shuffle",
    condition="shuffle",
    detector="ContentShuffleDetector",
    help="The image warped beyond recognition, so that only its colours and textures guide.",
    knobs=(
        RESOLUTION,
        Knob("scale", "Scale", 256, "Size of the warped pieces", 16, 1024, 16, "pixels"),
        Knob("seed", "Seed", 0, "Another seed warps otherwise", 0, 2**32 - 1),
    ),
    keywords={"scale": "f"},
).register()
