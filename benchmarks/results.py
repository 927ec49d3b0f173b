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

    runs = sorted(path.parent for path in parser.parse_args().folder.glob("*/*/evaluation.json"))
    for path in runs:
        run, measured = RunFolder.open(path), read_json(path / "evaluation.json")
        print(f"### {path.parent.name}, {path.name}\n")
        print(f"{measured['scenes']} test scenes, {measured['sampling_steps']} sampling steps.\n")
        print("\n".join(markdown(measured["rows"])))
        match = steps_to_match(run, "baseline", "lisa")
        if match and match.step is not None:
            print(
                f"\nLISA reached the baseline's last validation loss after {match.step:.0f} of {match.whole} steps.\n"
            )
        else:
            print("\nLISA did not reach the baseline's last validation loss.\n")
    print("### How much there is to align\n")
    print("\n".join(shares([RunFolder.open(path) for path in runs])))


def shares(runs: list) -> list[str]:
    """A table of what control and decoder explain of the likelihood score at the last validation of each run.

    The target minus the prior has the power of the prior's own loss. What control leaves of it is the controlled loss;
    what the decoder leaves is the alignment ratio.
    """
    head = ("run", "step", "loss without control", "explained by control, baseline", "LISA", "by the probe on baseline",
            "by LISA's decoder")  # fmt: skip
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    for run in runs:
        checks = [row for row in run.events() if row["kind"] == "validation"]
        last = {row["arm"]: row for row in checks if row["step"] == checks[-1]["step"]}
        cells = [f"{last['baseline']['prior']:.4f}"]
        cells += [f"{1 - last[arm]['control'] / last[arm]['prior']:.1%}" for arm in ("baseline", "lisa")]
        cells += [f"{1 - last[arm]['ratio']:.1%}" for arm in ("baseline", "lisa")]
        name = f"{run.path.parent.name}, {run.path.name}"
        lines.append(f"| {name} | {checks[-1]['step']} | {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    main()
