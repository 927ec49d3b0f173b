"""Images a second of the scene renderer on one core, at 128 x 128 with 2 x 2 supersampling.

OMP_NUM_THREADS=1 python benchmarks/scenes.py --count 100
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


def main() -> None:
    """Render scenes one after the other and print the rate by processor time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100, help="scenes to render (default: 100 scenes)")
    count = parser.parse_args().count
    from lisa.scenes.example import render_example

    render_example(0)
    wall, processor = time.perf_counter(), time.process_time()
    for seed in range(count):
        render_example(seed)
    processor, wall = time.process_time() - processor, time.perf_counter() - wall
    print(
        f"{count} scenes: {count / processor:.1f} images/s of processor time, {count / wall:.1f} images/s of wall time"
    )


if __name__ == "__main__":
    main()
