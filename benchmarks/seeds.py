"""What several runs of one setting with different seeds say: the paired difference of the validation loss.

python benchmarks/seeds.py RUN [RUN ...] [--at 500 1500]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


def main() -> None:
    """Print one line for each run and step, then when LISA reached the baseline's last loss."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a run folder")
    parser.add_argument("--at", nargs="*", type=int, default=[], help="training steps (default: the last)")
    arguments = parser.parse_args()
    from lisa.follow import steps_to_match
    from lisa.runs import RunFolder

    print("| family, condition | seed | step | baseline | LISA - baseline, standard error |")
    print("| --- | --- | --- | --- | --- |")
    runs = [RunFolder.open(path) for path in arguments.runs]
    for run in runs:
        print("\n".join(lines(run.settings(), run.events(), arguments.at)))
    print("\nSteps until LISA reached the baseline's last loss, of the run's steps (95 %):")
    for run in runs:
        print(f"- seed {run.settings()['seed']}: {match_words(steps_to_match(run, 'baseline', 'lisa'))}")


def lines(settings: dict, events: list[dict], at: list[int]) -> list[str]:
    """The rows of one run."""
    checks = {(row["step"], row["arm"]): row for row in events if row["kind"] == "validation"}
    name = f"{settings['family']}, {settings['condition']} | {settings['seed']}"
    return [
        f"| {name} | {step} | {checks[step, 'baseline']['control']:.4f} | "
        f"{checks[step, 'lisa']['difference']:+.5f} ({checks[step, 'lisa']['difference_error']:.5f}) |"
        for step in at or [max(step for step, _ in checks)]
    ]


def match_words(match) -> str:
    """When LISA got there, and between which steps that lies."""
    if match is None or match.step is None:
        return "not reached"
    late = f"{match.late:.0f}" if match.late is not None else f"more than {match.whole}"
    return f"{match.step:.0f} of {match.whole} ({match.early:.0f} to {late})"


if __name__ == "__main__":
    main()
