"""How a detector of controlnet-aux is found, loaded and run; every failure becomes one sentence."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from PIL import Image

from lisa.annotators.base import ANNOTATORS, AnnotatorSpec, Detector, Knob
from lisa.errors import LisaError

MAX_SIDE = 4096

RESOLUTION = Knob(
    "detect_resolution",
    "Detection resolution",
    512,
    "Shorter side the detector works at",
    64,
    2048,
    64,
    "pixels",
)

_running = threading.Lock()


@dataclass(frozen=True)
class Row:
    """One detector of controlnet-aux.

    Attributes:
        name: Name in the registry.
        title: Name for people.
        condition: Kind of map it makes.
        detector: Name of its class.
        help: One sentence on what it does.
        files: Names of its weight files; empty when it has none.
        source: Hub id of the weights.
        subfolder: Folder of the weights inside the hub repository.
        arguments: Further keywords of its from_pretrained.
        knobs: What can be turned.
        keywords: The detector's own keyword for a knob, where the names differ.
        packages: Modules it needs besides controlnet-aux.
    """

    name: str
    title: str
    condition: str
    detector: str
    help: str
    files: tuple[str, ...] = ()
    source: str = "lllyasviel/Annotators"
    subfolder: str = ""
    arguments: Mapping[str, str] = field(default_factory=dict)
    knobs: tuple[Knob, ...] = (RESOLUTION,)
    keywords: Mapping[str, str] = field(default_factory=dict)
    packages: tuple[str, ...] = ()

    def register(self) -> None:
        """Add this detector to the annotators."""
        weights = f" and {', '.join(self.files)}" if self.files else ""
        ANNOTATORS.add(
            self.name,
            AnnotatorSpec(
                name=self.name,
                title=self.title,
                condition=self.condition,
                help=self.help,
                load=self.load,
                knobs=self.knobs,
                needs=", ".join(("controlnet-aux", *self.packages)) + weights,
                default_source=self.source if self.files else "",
                missing_packages=self.missing_packages,
                missing_weights=self.missing_weights,
            ),
        )

    def missing_packages(self) -> str:
        """Say in one sentence which packages are not installed; nothing if all are."""
        names = ("controlnet_aux", *self.packages)
        absent = [name for name in names if importlib.util.find_spec(name) is None]
        if not absent:
            return ""
        them = "it" if len(absent) == 1 else "them"
        return f"{self.title} needs {', '.join(absent)}, not installed here: install {them} with pip."

    def missing_weights(self, source: str) -> str:
        """Say in one sentence which weights are not on this computer; nothing if all are.

        Args:
            source: Hub id or local folder of the weights.
        """
        if not self.files:
            return ""
        if Path(source).is_dir():
            absent = [name for name in self.files if not (Path(source) / name).is_file()]
            files = ", ".join(absent)
            return f"{self.title} needs {files} in the folder {source}: put it there." if absent else ""
        if _is_path(source):
            return f"{self.title} finds no folder {source}: check its name."
        if all(_is_cached(source, self.subfolder, name) for name in self.files):
            return ""
        return (
            f"The weights of {self.title} ({', '.join(self.files)} of {source}) are not on this computer: "
            "they are downloaded at the first use, or name a folder that has them."
        )

    def load(self, source: str) -> Detector:
        """Make the detector.

        Args:
            source: Hub id or local folder of the weights.

        Returns:
            A function from an RGB image and knob values to a map.

        Raises:
            LisaError: If packages or weights are missing or the weights do not fit.
        """
        if reason := self.missing_packages():
            raise LisaError(reason)
        is_folder = Path(source).is_dir()
        if (is_folder or _is_path(source)) and (reason := self.missing_weights(source)):
            raise LisaError(reason)
        make = getattr(_controlnet_aux(), self.detector)
        try:
            with _bare_command_line():
                if not self.files:
                    return self._wrap(make())
                return self._wrap(make.from_pretrained(source, **self._load_arguments(is_folder)))
        except (OSError, ImportError, NameError) as error:
            raise self._not_loaded(source, error) from error
        except Exception as error:  # foreign code over a foreign file: there is no list of what it may raise
            raise LisaError(f"{self.title} cannot use the weights of {source}{_words(error)}.") from error

    def _wrap(self, detector: Any) -> Detector:
        takes_size = "image_resolution" in inspect.signature(detector.__call__).parameters

        def run(image: Image.Image, seed: int = 0, **knobs: Any) -> Image.Image:
            arguments = {self.keywords.get(name, name): value for name, value in knobs.items()}
            _check_shape(self.title, image, knobs["detect_resolution"])
            if takes_size:
                arguments["image_resolution"] = knobs["detect_resolution"]
            try:
                with _running, _numpy_seed(seed), _quiet():
                    return detector(image, **arguments)
            except Exception as error:  # as above
                raise LisaError(f"{self.title} failed on this image{_words(error)}.") from error

        return run

    def _not_loaded(self, source: str, error: Exception) -> LisaError:
        if not self.missing_weights(source):
            return LisaError(f"{self.title} cannot be loaded{_words(error)}.")
        files = ", ".join(self.files)
        if _is_not_on_the_hub(error):
            return LisaError(
                f"The hub shows no {files} in {source} to you, which {self.title} needs: check the name, or name a "
                "folder that has the weights."
            )
        return LisaError(
            f"The weights of {self.title} ({files} of {source}) are not on this computer and cannot be downloaded: "
            "go online, or name a folder that has them."
        )

    def _load_arguments(self, is_folder: bool) -> dict[str, str]:
        arguments = dict(self.arguments)
        if self.subfolder and not is_folder:
            arguments["subfolder"] = self.subfolder
        return arguments


def _controlnet_aux() -> ModuleType:
    with _quiet():
        return importlib.import_module("controlnet_aux")


def _is_path(source: str) -> bool:
    return source.startswith((".", "/", "~")) or source.count("/") > 1 or "\\" in source


def _is_cached(source: str, subfolder: str, name: str) -> bool:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(source, f"{subfolder}/{name}" if subfolder else name)
    except HFValidationError:
        return False
    return isinstance(found, str)


def _check_shape(title: str, image: Image.Image, resolution: int) -> None:
    """Refuse what would be scaled to a giant, since the shorter side becomes the detection resolution."""
    longer = resolution * max(image.size) / min(image.size)
    if longer > MAX_SIDE:
        raise LisaError(
            f"{title} would work on {resolution} x {longer:.0f} pixels, but the limit is {MAX_SIDE} a side: "
            "crop the image or lower the detection resolution."
        )


def _is_not_on_the_hub(error: Exception) -> bool:
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError, RepositoryNotFoundError

    asked = isinstance(error, (EntryNotFoundError, RepositoryNotFoundError))
    return asked and not isinstance(error, LocalEntryNotFoundError)


def _words(error: Exception) -> str:
    """What foreign code says of its failure, in brackets; nothing if it says nothing."""
    first_line = (str(error).splitlines() or [""])[0][:160].rstrip(".: ")
    return f" (it says: {first_line})" if first_line else ""


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide warnings: of packages that other detectors want, of means over no pixel, of old calls."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _bare_command_line() -> Iterator[None]:
    """Hide this program's arguments: LeReS parses sys.argv while it loads."""
    arguments, sys.argv = sys.argv, sys.argv[:1]
    try:
        yield
    finally:
        sys.argv = arguments


@contextmanager
def _numpy_seed(seed: int) -> Iterator[None]:
    """Make what is drawn from numpy's global generator repeatable, and leave the generator as it was."""
    state = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(state)
