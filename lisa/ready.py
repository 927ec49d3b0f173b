"""Whether a run can start, as far as it is known at once: names, folders, layers. No torch, and nothing is fetched."""

from __future__ import annotations

from pathlib import Path

from lisa.data.check import check_data
from lisa.errors import LisaError, unknown_name
from lisa.families._sources import cached_folder, is_folder
from lisa.families.base import FAMILIES, FamilySpec
from lisa.files import read_json
from lisa.settings import TrainSettings, parse_arms


def check_ready(settings: TrainSettings) -> None:
    """Refuse what would fail before the first step for a slip in its settings.

    Args:
        settings: already checked.

    Raises:
        LisaError: if there is no such family, source, side network to start from, condition or layer.
    """
    spec = FAMILIES.get(settings.family)
    source = settings.source or spec.source
    if is_folder(source, settings.revision) and (lacking := spec.missing(source, "")):
        raise LisaError(f"{lacking.rstrip('.')}: give a pipeline's folder as the source, or leave it empty.")
    if settings.start:
        is_folder(settings.start)
    # A zip or a hub data set is unpacked or fetched by the run; only what lies open is looked at here.
    if settings.data == "scenes" or Path(settings.data).is_dir():
        problem = check_data(settings.data, settings.condition, settings.samples, spec.resolution, look=0).problem
        if problem:
            raise LisaError(problem)
    _check_taps(settings, spec)


def _check_taps(settings: TrainSettings, spec: FamilySpec) -> None:
    folder = cached_folder(settings.source or spec.source, settings.revision)
    known = side_taps(spec, folder) if folder and not settings.start else ()
    for arm in parse_arms(settings.arms, spec.default_lisa):
        for name in arm.lisa.taps:
            if known and name not in known:
                raise unknown_name(f"tap of arm {arm.name}", name, known)


def side_taps(spec: FamilySpec, folder: Path) -> tuple[str, ...]:
    """Name the taps of a family's new side network, from the config of its main network.

    Args:
        spec: of the family.
        folder: the pipeline.

    Returns:
        As ``Family.taps`` names them; empty where the config does not tell.
    """
    if (folder / "unet" / "config.json").is_file():
        return _unet_taps(read_json(folder / "unet" / "config.json"))
    path = folder / "transformer" / "config.json"
    config = read_json(path) if path.is_file() else {}
    if spec.side_class == "SD3ControlNetModel" and "num_layers" in config:
        blocks = spec.side.get("num_layers", max(1, config["num_layers"] // 2))
        return tuple(f"block_{i}" for i in range(blocks))
    if spec.side_class == "FluxControlNetModel" and {"num_layers", "num_single_layers"} <= set(config):
        counts = {"block": "num_layers", "single": "num_single_layers"}
        return tuple(f"{n}_{i}" for n, key in counts.items() for i in range(min(spec.side.get(key, 4), config[key])))
    return ()


def _unet_taps(config: dict) -> tuple[str, ...]:
    """The first convolution, every layer of every block, and what halves the map after all blocks but the last."""
    blocks, layers = len(config["block_out_channels"]), config["layers_per_block"]
    downs = 1 + (sum(layers) if isinstance(layers, list) else blocks * layers) + blocks - 1
    return (*(f"down_{i}" for i in range(downs)), "mid")
