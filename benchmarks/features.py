"""Seconds to collect, project and measure the features of a pair, once everything is loaded and compiled.

python benchmarks/features.py --scenes 50
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


def main() -> None:
    """Run the same study twice and print the seconds of each kind of work in the second."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=50, help="scenes of the probe (default: 50 scenes, 2,000 rows)")
    parser.add_argument("--run", default="", help="run to look into (default: the shipped canny pair)")
    arguments = parser.parse_args()
    from lisa.lab import Lab
    from lisa.settings import FeatureSettings

    lab, settings = Lab(), FeatureSettings(scenes=arguments.scenes, run=arguments.run)
    lab.features(FeatureSettings(scenes=8, run=arguments.run))
    marks: dict[str, float] = {}
    begin = time.perf_counter()

    def mark(what: str, _done: int, _total: int) -> None:
        marks[what] = time.perf_counter() - begin

    study = lab.features(settings, mark)
    end = time.perf_counter() - begin
    print(f"{len(study.probe) * len(study.features):,} rows in {end:.1f} s; work was last reported on at:")
    for what, seconds in marks.items():
        print(f"  {what}: {seconds:.1f} s")


if __name__ == "__main__":
    main()
