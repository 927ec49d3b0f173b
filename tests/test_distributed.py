"""Several processes train as one: the same global batch, losses to float tolerance, one writer, clean stop, resume."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import torch
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import launch_command_parser
from safetensors.torch import load_file

from lisa import fsdp
from lisa.errors import LisaError
from lisa.job import Job
from lisa.runs import RunFolder
from lisa.settings import TrainSettings
from tests import tiny
from tests.families import contract

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = ROOT / "configs" / "accelerate"
LOSSES = ("control", "alignment", "ratio", "prior", "gradient_norm")


@pytest.fixture
def data(tmp_path, monkeypatch):
    from PIL import Image

    monkeypatch.setenv("LISA_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "data"
    folder.mkdir()
    for i in range(12):
        picture = Image.new("RGB", (64, 64), (10 * i, 100, 200))
        picture.paste((255, 255, 255), (10 + i, 10, 40 + i, 40))
        picture.save(folder / f"{i:02d}.png")
    return folder


class Run:
    """One run of a tiny family, trained here in one process or by accelerate's launcher in several."""

    def __init__(self, family: str, source: Path, data: Path, **settings) -> None:
        every = {"validate_every": 0, "preview_every": 0, "checkpoint_every": 0, "validation_samples": 2}
        more = {"learning_rate": 1e-3, "previews": 1, "device": "cpu"}
        self.settings = {"family": family, "source": str(source), "data": str(data), **every, **more, **settings}

    def alone(self, folder: Path, **settings) -> RunFolder:
        for _ in Job(TrainSettings(**self.settings | settings), folder).records():
            pass
        return RunFolder.open(folder)

    def start(self, folder: Path, config: str, *options: str, **settings) -> subprocess.Popen:
        launch = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(CONFIGS / f"{config}.yaml")]
        flags = [f"--{name.replace('_', '-')}={value}" for name, value in (self.settings | settings).items()]
        command = [*launch, *options, "-m", "lisa", "train", "--run", str(folder), *flags]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def launched(self, folder: Path, config: str, **settings) -> RunFolder:
        finish(self.start(folder, config, "--num_processes", "2", "--main_process_port", "0", **settings))
        return RunFolder.open(folder)


def finish(*processes: subprocess.Popen) -> None:
    for process in processes:
        output, _ = process.communicate(timeout=500)
        assert process.returncode == 0, output[-3000:]


def stop_after_a_step(process: subprocess.Popen, folder: Path) -> None:
    events = folder / "events.jsonl"
    while process.poll() is None and not (events.exists() and events.read_text().count("\n") >= 2):
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert (folder / "state.json").exists(), output[-3000:]


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def assert_same_losses(one: RunFolder, two: RunFolder, kind: str = "train") -> None:
    rows = [[row for row in run.events() if row["kind"] == kind] for run in (one, two)]
    assert rows[0]
    for a, b in zip(*rows, strict=True):
        assert (a["step"], a["arm"]) == (b["step"], b["arm"])
        for name in set(LOSSES) & set(a):
            assert b[name] == pytest.approx(a[name], rel=2e-3), (a["step"], a["arm"], name)


def assert_one_writer(run: RunFolder) -> None:
    rows = Counter(run._events.read_text().splitlines())
    seen = Counter((row["step"], row["arm"], row["kind"]) for _, row in run._rows())
    assert set(rows.values()) == set(seen.values()) == {1}
    assert not list(run.path.rglob(".tmp-*")) and not list(run.path.rglob("*.tmp"))


@pytest.mark.slow
def test_two_processes_equal_one_and_a_signal_stops_them_and_two_computers_go_on(data, tmp_path):
    run = Run("scenes-unet", tiny.folder("scenes-unet"), data)
    folder = tmp_path / "two"
    stop_after_a_step(
        run.start(folder, "two_cpu_processes", "--main_process_port", "0", batch_size=2, steps=5000), folder
    )
    two = RunFolder.open(folder)
    state = two.read_state()
    assert (state["status"], state["processes"]) == ("stopped", 2)
    assert two.checkpoints() == [state["step"]]
    assert not two.is_running()

    sizes = {"batch_size": 2, "steps": state["step"] + 2}
    nodes = ["--num_processes", "2", "--main_process_ip", "127.0.0.1", "--main_process_port", str(free_port())]
    ranks = (["--machine_rank", str(rank)] for rank in range(2))
    finish(*[run.start(folder, "several_nodes", *nodes, *rank, **sizes) for rank in ranks])
    assert two.read_state()["status"] == "finished"
    assert two.checkpoints() == [state["step"], state["step"] + 2]

    assert_same_losses(run.alone(tmp_path / "one", batch_size=4, steps=sizes["steps"]), two)
    assert_one_writer(two)
    with pytest.raises(LisaError, match="was trained by 2 processes, not 1: start as many"):
        run.alone(folder, **sizes)


@pytest.mark.slow
def test_networks_spread_by_fsdp_go_on_from_whole_ones_and_learn_the_same(data, tmp_path):
    run = Run("sd3", contract.folder("sd3"), data, validate_every=2, preview_every=2, checkpoint_every=2)
    one = run.alone(tmp_path / "one", batch_size=4, steps=4)
    run.launched(tmp_path / "two", "two_cpu_processes", batch_size=2, steps=2)
    two = run.launched(tmp_path / "two", "fsdp", batch_size=2, steps=4)
    assert_same_losses(one, two)
    assert_one_writer(two)
    assert one.checkpoints() == two.checkpoints() == [2, 4]
    assert two.read_state()["status"] == "finished"
    names = [sorted(path.relative_to(r.path) for path in r.path.rglob("*4/**/*.*")) for r in (one, two)]
    assert names[0] == names[1]
    for path in names[0]:
        if path.suffix == ".safetensors":
            a, b = (load_file(r.path / path) for r in (one, two))
            for key, value in a.items():
                torch.testing.assert_close(b[key], value, rtol=1e-2, atol=1e-4)
        elif path.name == "config.json":
            assert (one.path / path).read_text() == (two.path / path).read_text()


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_configs_are_accelerates_and_documented(path):
    config = load_config_from_file(str(path))
    known = {action.dest for action in launch_command_parser()._actions}
    assert set(config.fsdp_config) <= known
    assert (config.num_processes > 1) == (config.distributed_type.value != "NO")
    assert f"configs/accelerate/{path.name}" in (ROOT / "docs" / "distributed.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"FSDP_VERSION": "1"}, "fsdp_version 1: set it to 2"),
        ({"FSDP_VERSION": "2", "FSDP_OFFLOAD_PARAMS": "true"}, "fsdp_offload_params true"),
        ({"FSDP_VERSION": "2", "FSDP_CPU_RAM_EFFICIENT_LOADING": "true"}, "fsdp_cpu_ram_efficient_loading true"),
    ],
)
def test_what_fsdp_is_not_asked_to_do_is_refused_in_a_sentence(monkeypatch, environment, words):
    assert not fsdp.asked_for()
    for name, value in {"ACCELERATE_USE_FSDP": "true", **environment}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(LisaError, match=words):
        fsdp.asked_for()
