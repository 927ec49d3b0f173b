"""Make the finished example of the first screen again, from the shipped side networks.

python assets/make_example.py --scene 3 --condition canny
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


def main() -> None:
    """Generate one pair for a held-out scene and store it with its settings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scene", type=int, default=3, help="number of the held-out scene (default: 3)")
    parser.add_argument("--condition", default="canny", help="condition of the pair (default: canny)")
    arguments = parser.parse_args()
    from lisa.files import write_json
    from lisa.lab import Lab
    from lisa.options import to_dict
    from lisa.settings import GenerateSettings

    lab = Lab()
    scene = lab.render_scene(arguments.scene)
    settings = GenerateSettings(condition=arguments.condition, prompt=scene.caption)
    folder = ROOT / "assets" / "example"
    folder.mkdir(parents=True, exist_ok=True)
    condition = scene.maps[arguments.condition]
    condition.save(folder / "condition.png")
    for image in lab.generate(settings, condition):
        lab.save(image, folder / f"{image.arm}.png")
    write_json(folder / "settings.json", to_dict(settings))


if __name__ == "__main__":
    main()
