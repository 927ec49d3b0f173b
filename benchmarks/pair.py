"""Seconds for the first and for a later pair of 128 x 128 images from the shipped side networks.

python benchmarks/pair.py --repeat 5
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


def main() -> None:
    """Generate pairs and print the times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=5, help="pairs to time after the first (default: 5)")
    repeat = parser.parse_args().repeat
    from lisa.lab import Lab
    from lisa.settings import GenerateSettings

    lab = Lab()
    scene = lab.render_scene(3)
    settings = GenerateSettings(prompt=scene.caption)
    times = []
    for _ in range(repeat + 1):
        begin = time.perf_counter()
        lab.generate(settings, scene.maps["canny"])
        times.append(time.perf_counter() - begin)
    print(f"first pair, with loading: {times[0]:.2f} s; later pairs: median {statistics.median(times[1:]):.2f} s")


if __name__ == "__main__":
    main()
