"""The README.md of a shared side network, made from what its run folder says and nothing else."""

from __future__ import annotations

import json
import os
from pathlib import Path

from lisa.arms import ArmSettings, parse_arms
from lisa.families.base import FAMILIES, FamilySpec
from lisa.files import read_json
from lisa.measuring import reference
from lisa.metrics.paired import difference_words
from lisa.options import from_dict
from lisa.origin import Origin, read_origin
from lisa.runs import RunFolder
from lisa.settings import TrainSettings
from lisa.sharing.hub import HUB_ID

_PAPER = "[likelihood score alignment](https://arxiv.org/abs/2606.27192)"


def model_card(run: RunFolder, step: int, arm: str, place: str = "path/to/this/folder") -> str:
    """Write the card of one side network.

    Args:
        run: its run.
        step: training step of the checkpoint.
        arm: name of the arm.
        place: folder or hub id to load it from, for the snippet.

    Returns:
        Markdown with YAML front matter; without a licence, which only the author can choose.
    """
    settings = from_dict(TrainSettings, run.settings())
    spec = FAMILIES.get(settings.family)
    kind = str(read_json(run.checkpoint_dir(step) / arm / "config.json").get("_class_name", "ControlNetModel"))
    origin, base = read_origin(run.path), _base_model(settings, spec)
    history = _imported(origin) if origin else _trained(run, settings, spec, step, arm)
    parts = [
        _front_matter(settings, kind, base, None if origin else arm),
        f"# {settings.condition.capitalize()} side network for {spec.title}",
        f"A `{kind}` that makes the main network follow **{settings.condition}** maps. {_main_words(settings, base)}",
        f"## How it was made\n\n{history}",
        f"## How to load it\n\n{_snippet(kind, place, base)}",
        f"## What was measured\n\n{_figures(run, step, arm)}",
        "## Licence\n\nNone is given here: its author chooses one, which the licences of the main network and of the "
        "data may bind.",
    ]
    return "\n\n".join(parts) + "\n"


def _base_model(settings: TrainSettings, spec: FamilySpec) -> str:
    """Hub id of the main network; empty where it is a folder."""
    source = settings.source or spec.source
    return source if HUB_ID.fullmatch(source) and not os.path.isdir(source) else ""


def _main_words(settings: TrainSettings, base: str) -> str:
    if base:
        at = f" at revision {settings.revision}" if settings.revision else ""
        return f"The main network is `{base}`{at}."
    if settings.source:
        return f"The main network lay in a folder named `{Path(settings.source).name}`, which is not part of this."
    return f"The main network, `{settings.family}`, comes with LISA Lab and is not part of this."


def _front_matter(settings: TrainSettings, kind: str, base: str, arm: str | None) -> str:
    """YAML; its strings are written as JSON, which YAML reads, so that no name can break out."""
    tags = ["controlnet"] if kind == "ControlNetModel" else []
    tags += ["lisa-lab", settings.condition, *([arm] if arm else [])]
    lines = ["library_name: diffusers", "tags:", *(f"- {json.dumps(tag)}" for tag in dict.fromkeys(tags))]
    return "\n".join(["---", *lines, *([f"base_model: {json.dumps(base)}"] if base else []), "---"])


def _imported(origin: Origin) -> str:
    return f"{origin.words} How it was trained is not known here."


def _trained(run: RunFolder, settings: TrainSettings, spec: FamilySpec, step: int, arm: str) -> str:
    arms = {each.name: each for each in parse_arms(settings.arms, spec.default_lisa)}
    others = [name for name in arms if name != arm]
    beside = f" beside {', '.join(others)}, on the same samples and noise" if others else ""
    rows = [
        ("Family", settings.family),
        ("Condition", settings.condition),
        ("Arm", f"{arm}{beside}"),
        ("Alignment", _alignment(arms.get(arm))),
        ("Steps", f"{step:,} of {settings.steps:,}"),
        ("Batch size", f"{settings.batch_size * settings.accumulation:,} per process"),
        ("Learning rate", f"{settings.learning_rate or spec.learning_rate:g}, AdamW"),
        ("Precision in training", {"no": "float32"}.get(settings.precision, settings.precision)),
        ("Seed", str(settings.seed)),
        ("Data", _data(settings)),
    ]
    table = "\n".join(["| | |", "| --- | --- |", *(f"| {name} | {_cell(value)} |" for name, value in rows)])
    return f"Trained with LISA Lab. The weights are stored as float16.\n\n{table}"


def _alignment(arm: ArmSettings | None) -> str:
    if arm is None:
        return "not recorded"
    lisa = arm.lisa
    if lisa.weight == 0:
        return "none: plain training of a side network"
    taps = "+".join(lisa.taps) or "the family's default"
    return (
        f"{_PAPER} with weight {lisa.weight:g} ({lisa.schedule}), taps {taps}, decoder width {lisa.width}, distance "
        f"{lisa.distance}, timestep weighting {lisa.timestep_weighting}"
    )


def _data(settings: TrainSettings) -> str:
    """What it was trained on, without the way to a folder of this computer."""
    if settings.data == "scenes":
        return f"{settings.samples:,} rendered scenes of LISA Lab's own world, no photograph among them"
    hub_id, _, _ = settings.data.partition("@")
    if HUB_ID.fullmatch(hub_id) and not os.path.exists(os.path.expanduser(settings.data)):
        return f"up to {settings.samples:,} samples of the hub data set {settings.data}"
    return f"up to {settings.samples:,} samples of a folder or zip named {Path(settings.data).name}"


def _snippet(kind: str, place: str, base: str) -> str:
    lines = [f"from diffusers import {kind}", "", f"side = {kind}.from_pretrained({json.dumps(place)})"]
    if base and kind == "ControlNetModel":
        pipeline = "StableDiffusionControlNetPipeline"
        lines[0] += f", {pipeline}"
        lines.append(f"pipe = {pipeline}.from_pretrained({json.dumps(base)}, controlnet=side)")
    return "\n".join(["```python", *lines, "```"])


def _figures(run: RunFolder, step: int, arm: str) -> str:
    path = run.path / "evaluation.json"
    stored = read_json(path) if path.exists() else {}
    row = next((row for row in stored.get("rows", ()) if (row["step"], row["arm"]) == (step, arm)), None)
    if row is None:
        return "Nothing was measured: how well it follows its condition is not known."
    first = reference([each for each in stored["rows"] if each["step"] == step])
    lines = [f"| | value | difference to {first} |", "| --- | --- | --- |"]
    for title, key, digits in (("Test loss", "loss", 5), (str(row.get("measure", "Fidelity")), "fidelity", 4)):
        lines.append(f"| {_cell(title)} | {row[key]:.{digits}f} | {difference_words(row, key, digits)} |")
    return (
        f"On {stored['scenes']:,} held-out samples with {stored['sampling_steps']} sampling steps; differences are "
        "paired, with 95 % bootstrap intervals.\n\n" + "\n".join(lines)
    )


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
