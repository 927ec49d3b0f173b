"""Arms: the side networks that one run trains in lockstep, and how each of them is aligned."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, replace

from lisa.errors import LisaError, unknown_name
from lisa.options import check, option, options, parse_text

ARM_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
SIDE_NAME = re.compile(rf"(?:(?P<run>[^:@,]+):)?(?P<arm>{ARM_NAME.pattern})(?:@(?P<step>step-\d{{6,}}))?")
"""An arm, of a run of its own and at a training step of its own where these are named: runs/other:lisa@step-000200."""


def file_word(name: str) -> str:
    """The name of a side network as a word in the name of a file."""
    return re.sub("[^a-z0-9_.-]+", "-", name)


@dataclass(frozen=True)
class LisaSettings:
    """How one arm weighs and computes the alignment loss (arXiv 2606.27192); weight 0 is plain training."""

    weight: float = option(
        0.2,
        "Weight lambda of the alignment loss; 0 trains a plain side network",
        low=0,
        high=100,
        step=0.05,
        label="Lambda",
    )
    schedule: str = option(
        "constant",
        "How lambda changes during training",
        choices=("constant", "warmup", "decay", "cutoff"),
        label="Lambda schedule",
    )
    schedule_steps: int = option(
        0,
        "Steps until warm-up is complete, decay reaches 0 or cut-off drops to 0; "
        "0 takes a tenth, all or half of the run",
        unit="steps",
        low=0,
        high=10_000_000,
        expert=True,
        label="Schedule steps",
    )
    taps: tuple[str, ...] = option(
        (),
        "Layers of the side network that feed the score decoder, such as down_3+mid; none takes the family's default",
        label="Taps",
    )
    width: int = option(
        64,
        "Fewest channels inside the score decoder",
        unit="channels",
        low=8,
        high=1024,
        step=8,
        expert=True,
        label="Decoder width",
    )
    distance: str = option(
        "mse",
        "Distance between the decoded and the approximated likelihood score",
        choices=("mse", "cosine"),
        expert=True,
        label="Distance",
    )
    timestep_weighting: str = option(
        "uniform",
        "How timesteps are weighed in the alignment loss",
        choices=("uniform", "snr", "min_snr"),
        expert=True,
        label="Timestep weighting",
    )

    def weight_at(self, step: int, steps: int) -> float:
        """Compute lambda for one training step.

        Args:
            step: Index of the step, 0..steps-1.
            steps: Length of the whole run in steps.

        Returns:
            The weight that the schedule gives this step, 0..weight.
        """
        if self.schedule == "constant":
            return self.weight
        share = {"warmup": 0.1, "decay": 1.0, "cutoff": 0.5}[self.schedule]
        span = self.schedule_steps or max(1, round(share * steps))
        if self.schedule == "warmup":
            return self.weight * min(1.0, (step + 1) / span)
        if self.schedule == "decay":
            return self.weight * max(0.0, 1.0 - step / span)
        return self.weight if step < span else 0.0


@dataclass(frozen=True)
class ArmSettings:
    """One of the side networks that are trained in lockstep."""

    name: str = option("lisa", "Name of the arm, also of its folder in a checkpoint", label="Name")
    lisa: LisaSettings = option(LisaSettings(), "How this arm is aligned", label="Alignment")

    def crosscheck(self) -> None:
        """Check that the name can be a folder and that a baseline is one.

        Raises:
            LisaError: If it cannot, or a baseline has a weight.
        """
        if not ARM_NAME.fullmatch(self.name):
            raise LisaError(f"Arm name {self.name[:80]!r} must be 1 to 32 of a-z, 0-9, _ and - (no _ or - first).")
        if self.name == "baseline" and self.lisa.weight != 0:
            raise LisaError(
                f"The arm baseline has weight 0, not {self.lisa.weight:g}: give the aligned arm another name."
            )


def parse_arms(text: str, defaults: LisaSettings | None = None) -> tuple[ArmSettings, ...]:
    """Read a list of arms such as "baseline,lisa" or "baseline,two:weight=0.5:taps=down_3+mid".

    Args:
        text: Arms joined by commas. "baseline" alone is weight 0, "lisa" alone is the defaults; any other
            name needs at least one setting after a colon.
        defaults: What an arm's unnamed settings take, usually the family's defaults.

    Returns:
        The arms in the order written, checked.

    Raises:
        LisaError: If there is no arm, a name comes twice, or a name or setting is unknown or wrong.
    """
    arms = tuple(_parse_arm(part.strip(), defaults or LisaSettings()) for part in text.split(","))
    names = [arm.name for arm in arms]
    for name in names:
        if names.count(name) > 1:
            raise LisaError(f"The arm {name} is listed twice in {text[:80]!r}: give each arm its own name.")
    return arms


def in_order(arms: Collection[str], text: str) -> list[str]:
    """Names of arms in the order in which a run's settings list them; the first is what the others are compared with.

    Args:
        arms: names that are there.
        text: as for parse_arms().

    Returns:
        The same names; those that the settings do not list come last, as those of an imported run.
    """
    named = [arm.name for arm in parse_arms(text)]
    return [name for name in named if name in arms] + sorted(set(arms).difference(named))


def _parse_arm(text: str, defaults: LisaSettings) -> ArmSettings:
    name, *pairs = text.split(":")
    presets = {"baseline": replace(defaults, weight=0.0), "lisa": defaults}
    if not name:
        raise LisaError("An arm has no name: write arms like baseline,lisa.")
    if name not in presets and not pairs:
        raise unknown_name("arm", name, presets)
    known = {key: (hint, declared) for key, declared, hint, _ in options(LisaSettings)}
    changes = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if key not in known:
            raise unknown_name(f"setting of arm {name}", key, known)
        if not equals or key in changes:
            raise LisaError(f"Arm {name} must give {key} once, as {key}=VALUE.")
        changes[key] = parse_text(key, value, *known[key])
    return check(ArmSettings(name, replace(presets.get(name, defaults), **changes)))
