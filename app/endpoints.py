"""What programs ask for: the same facade as the page's, with tables of names and values in and out."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import gradio as gr

from app.guard import guarded
from lisa.lab import Lab
from lisa.options import from_dict
from lisa.settings import FeatureSettings, TrainSettings


def add_endpoints(lab: Lab) -> None:
    """Name the endpoints; to be called inside the page.

    Args:
        lab: the facade.
    """
    desk = lab.training

    def features(settings: dict[str, Any]) -> dict[str, Any]:
        """Collect, project and measure the features of a pair of side networks.

        Args:
            settings: those of ``python -m lisa features`` that differ from their defaults, such as {"scenes": 20}.

        Returns:
            The settings, the factors of every row, the points of every arm, and the table of measures.
        """
        return lab.features(from_dict(FeatureSettings, settings)).plain()

    def runs() -> list[dict[str, Any]]:
        """List all runs, the youngest first: id, title, and whether it is the user's own."""
        return [asdict(run) for run in desk.runs()]

    def train(settings: dict[str, Any], name: str) -> str:
        """Start a training run in a process of its own.

        Args:
            settings: those of ``python -m lisa train`` that differ from their defaults, such as {"steps": 100}.
            name: of the run; empty takes a free one.

        Returns:
            The run's id, for /train_status.
        """
        checked = from_dict(TrainSettings, settings)
        return desk.start(checked, name or desk.free_name(checked.condition))

    def train_status(run: str) -> dict[str, Any]:
        """Tell where a run stands: status, steps, pace, kept checkpoints, last losses, and steps to match.

        Args:
            run: its id.
        """
        watch = desk.watch(run)
        last = {"/".join(key): float(values[-1]) for key, (_, values) in watch.curves.items() if len(values)}
        match = {arm: asdict(found) if found else None for arm, found in watch.match.items()}
        return {**asdict(watch.progress), "alive": watch.progress.alive, "last": last, "match": match}

    def evaluate(run: str, scenes: int, sampling_steps: int) -> None:
        """Start to measure a run on held-out scenes in a process of its own; see /evaluation.

        Args:
            run: its id.
            scenes: how many.
            sampling_steps: of every image.
        """
        desk.measure(run, scenes, sampling_steps)

    def evaluation(run: str) -> dict[str, Any]:
        """Tell what has been measured of a run so far.

        Args:
            run: its id.
        """
        return asdict(desk.evaluation(run))

    gr.api(guarded(features), api_name="features", concurrency_id="gpu", concurrency_limit=1)
    for endpoint in (runs, train, train_status, evaluate, evaluation):
        gr.api(guarded(endpoint), api_name=endpoint.__name__, concurrency_id="runs", concurrency_limit=1)
