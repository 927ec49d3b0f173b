"""``python -m lisa VERB``: the lab without a browser."""

from __future__ import annotations

import argparse
import sys

from lisa.cli import annotate, evaluate, export, features, generate, import_side, info, package, pretrain, scenes, train
from lisa.errors import LisaError

VERBS = {
    "scenes": scenes,
    "pretrain": pretrain,
    "train": train,
    "generate": generate,
    "evaluate": evaluate,
    "features": features,
    "annotate": annotate,
    "export": export,
    "import": import_side,
    "package": package,
    "info": info,
}


def build_parser() -> argparse.ArgumentParser:
    """The parser of all verbs; building it loads neither torch nor diffusers."""
    parser = argparse.ArgumentParser(
        prog="python -m lisa", description="LISA Lab: likelihood score alignment for side networks of diffusion models."
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, module in VERBS.items():
        verb = verbs.add_parser(name, help=module.HELP, description=module.HELP)
        module.add_arguments(verb)
        verb.set_defaults(act=module.run)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run one verb; a mistake of the user is one sentence on standard error and exit code 2."""
    parsed = build_parser().parse_args(arguments)
    try:
        parsed.act(parsed)
    except LisaError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
