"""Line drawing by local contrast, without weights."""

from __future__ import annotations

from lisa.annotators._detectors import RESOLUTION, Row
from lisa.annotators.base import Knob

Row(
    name="lineart-standard",
    title="Line art (standard)",
    condition="lineart",
    detector="LineartStandardDetector",
    help="Light lines where the image is darker than its surroundings.",
    knobs=(
        RESOLUTION,
        Knob("sigma", "Line width", 6.0, "Width of the surroundings", 0.5, 30, 0.5, "pixels"),
        Knob("threshold", "Threshold", 8, "Contrast that counts as a line when levels are set", 0, 255),
    ),
    keywords={"sigma": "guassian_sigma", "threshold": "intensity_threshold"},
).register()
