"""The tables of docs/results.md, from what evaluation and training left beside the shipped side networks.

python benchmarks/results.py
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


def main() -> None:
    """Print, per run, what was measured on held-out scenes and how soon LISA reached the baseline's level."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "checkpoints", help="where the runs lie")
    from lisa.cli.evaluate import markdown
    from lisa.files import read_json
    from lisa.follow import steps_to_match
    from lisa.runs import RunFolder

    for path in sorted(parser.parse_args().folder.glob("*/*/evaluation.json")):
        run, measured = RunFolder.open(path.parent), read_json(path)
        print(f"### {path.parent.parent.name}, {path.parent.name}\n")
        print(f"{measured['scenes']} test scenes, {measured['sampling_steps']} sampling steps.\n")
        print("\n".join(markdown(measured["rows"])))
        match = steps_to_match(run, "baseline", "lisa")
        if match and match.step is not None:
            print(
                f"\nLISA reached the baseline's last validation loss after {match.step:.0f} of {match.whole} steps.\n"
            )
        else:
            print("\nLISA did not reach the baseline's last validation loss.\n")


if __name__ == "__main__":
    main()
