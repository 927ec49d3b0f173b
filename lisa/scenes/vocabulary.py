"""The words of the world: every factor a scene can vary, with the look that belongs to it.

Colours are linear RGB in [0, 1]; shading happens in linear light and is tone-mapped at the end.
"""

from __future__ import annotations

COLORS: dict[str, tuple[float, float, float]] = {
    "red": (0.78, 0.05, 0.05),
    "orange": (0.90, 0.32, 0.03),
    "yellow": (0.90, 0.72, 0.06),
    "green": (0.06, 0.46, 0.10),
    "blue": (0.05, 0.15, 0.74),
    "purple": (0.36, 0.07, 0.56),
    "pink": (0.92, 0.34, 0.52),
    "brown": (0.27, 0.12, 0.05),
    "white": (0.86, 0.86, 0.86),
    "gray": (0.30, 0.30, 0.31),
    "black": (0.03, 0.03, 0.035),
    "cyan": (0.05, 0.58, 0.64),
}
SOLIDS = ("sphere", "cube", "cylinder", "cone")
MANNEQUIN = "mannequin"
SHAPES = (*SOLIDS, MANNEQUIN)
SIZES = ("small", "large")
MATERIALS = ("matte", "glossy", "metal")
PATTERNS = ("plain", "striped", "dotted", "checkered")
POSES = ("standing", "walking", "sitting", "reaching", "jumping")
FLOORS = ("wooden", "checkered", "tiled", "grass", "sand", "marble", "concrete")
TIMES = ("daylight", "sunset", "night")

# Material -> (share of diffuse light, mirror reflectance at normal incidence, Blinn-Phong exponent).
MATERIAL_LOOK = {"matte": (1.0, 0.0, 12.0), "glossy": (1.0, 0.05, 150.0), "metal": (0.45, 0.45, 60.0)}
FLOOR_REFLECTANCE = {"tiled": 0.03, "marble": 0.05}

# Time of day -> sky at the horizon, sky overhead, sun, ambient light from above, light bounced from below.
LIGHTING = {
    "daylight": ((0.72, 0.80, 0.88), (0.22, 0.42, 0.78), (1.25, 1.20, 1.10), (0.42, 0.47, 0.55), (0.20, 0.19, 0.17)),
    "sunset": ((0.95, 0.48, 0.22), (0.30, 0.20, 0.42), (1.50, 0.85, 0.45), (0.34, 0.27, 0.34), (0.20, 0.13, 0.09)),
    "night": ((0.06, 0.085, 0.16), (0.012, 0.018, 0.05), (0.50, 0.58, 0.85), (0.085, 0.11, 0.18), (0.04, 0.04, 0.05)),
}

# Class segmentation: index -> (name, sRGB colour of the map). The colours are far apart, so a map can be read back.
CLASSES: tuple[tuple[str, tuple[int, int, int]], ...] = (
    ("sky", (6, 230, 230)),
    ("floor", (80, 50, 50)),
    ("sphere", (230, 60, 60)),
    ("cube", (60, 110, 240)),
    ("cylinder", (60, 200, 90)),
    ("cone", (250, 200, 50)),
    (MANNEQUIN, (200, 80, 220)),
)
CLASS_INDEX = {name: index for index, (name, _) in enumerate(CLASSES)}
