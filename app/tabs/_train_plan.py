"""What will run, in words: the command, a report on the data, and the time and memory that it takes."""

from __future__ import annotations

from app.waiting import duration
from lisa.data.check import DataReport
from lisa.plan import Estimate, Footprint, Plan
from lisa.settings import TrainSettings


def plan_words(command: str, settings: TrainSettings, plan: Plan | None = None, beside: str = "") -> str:
    """Say what is known of a run that has not been started.

    Args:
        command: that would run.
        settings: of the run.
        plan: what is known so far; None before anything is.
        beside: id of a run that is trained now, which makes the times longer; empty if there is none.

    Returns:
        Markdown.
    """
    parts = [f"This will run:\n```bash\n{command}\n```"]
    if plan and plan.data:
        parts.append(data_words(plan.data))
    if plan and plan.footprint:
        parts.append(footprint_words(plan.footprint, settings))
        parts += [speed_words(plan.footprint)] if not plan.estimate and not plan.words else []
    if plan and plan.estimate:
        parts.append(estimate_words(plan.estimate, settings))
        parts += [f"Measured while {beside} is trained: alone it goes faster."] if beside else []
    if plan and plan.failure:
        parts.append(f"**This cannot run yet.** {plan.failure}")
    if plan and plan.words:
        parts.append(f"*{plan.words} …*")
    return "\n\n".join(parts)


def counted_words(report: DataReport) -> str:
    """How many pictures data have, to train on and held out, and how many have a caption."""
    captions = "all" if report.captioned == report.rows else f"{report.captioned:,}"
    return (
        f"**Data**: {report.rows:,} pictures, {report.train_rows:,} to train on and {report.held_out_rows:,} held out, "
        f"{captions} with a caption."
    )


def data_words(report: DataReport) -> str:
    """A report on data, with the first faulty rows as a list."""
    if report.data == "scenes":
        words = f"**Data**: {report.rows:,} scenes, rendered on demand; {report.cached:,} of the world's are cached."
    else:
        words = f"{counted_words(report)} {_looked(report)}"
    parts = [f"{words} {_source_of_maps(report)}"]
    if report.small:
        parts[0] += f" {report.small:,} are smaller than the {report.resolution} pixels of the networks: they blur."
    if report.faulty_rows:
        parts.append(f"**{report.faulty_rows:,} faulty**: training stops at a faulty row, so mend or remove it. First:")
        parts.append("\n".join(f"- {_code(name)}: {_code(reason)}" for name, reason in report.faulty))
    if report.problem:
        parts.append(f"**This cannot run yet.** {report.problem}")
    return "\n\n".join(parts)


def _looked(report: DataReport) -> str:
    if not report.looked_at or not report.smallest:
        return f"{report.looked_at:,} were opened."
    width, height = report.smallest
    return f"The first {report.looked_at:,} were opened; the smallest has {width} x {height} pixels."


def _source_of_maps(report: DataReport) -> str:
    brought = f"{report.brought:,} bring their own {report.condition} map." if report.brought else ""
    made = f"The annotator {report.annotator} makes the {report.condition} maps" if report.annotator else ""
    return " ".join(filter(None, [brought, f"{made}{' of the others' if brought else ''}." if made else ""]))


def footprint_words(footprint: Footprint, settings: TrainSettings) -> str:
    """What a run takes by the sizes of its networks."""
    f, memory, cost = footprint, footprint.memory, footprint.cost
    known = (
        f"as published for {_code(f.published)}, which is not whole on this machine" if f.published else "by configs"
    )
    full, shared = (100 * (flops / cost.plain - 1) for flops in (cost.full, cost.shared))
    where = "on the CPU" if "cpu" in (settings.device, footprint.device) else "on a GPU"
    return (
        f"**Sizes** {known}: main network {_millions(f.main)}, one side network {_millions(f.side)}, its score decoder "
        f"{_millions(f.decoder)}, autoencoder and encoders {_millions(f.around)} parameters.\n\n"
        f"**Computation**: {_operations(f.flops)} for a step of all arms. For one side network plain training takes "
        f"{_operations(cost.plain)}; LISA adds {full:.0f} % when nothing is shared and {shared:.0f} % when what "
        f"control cannot change is computed once, as this run does{'' if settings.share else ' not'}.\n\n"
        f"**Memory by the tensors** {where}: {_gigabytes(memory.peak)} at the most, of which weights "
        f"{_gigabytes(memory.weights)}, gradients {_gigabytes(memory.gradients)}, optimizer "
        f"{_gigabytes(memory.optimizer)} and the step itself {_gigabytes(memory.step)}; what kernels and the allocator "
        f"need comes on top. While they load, the frozen networks take {_gigabytes(memory.loading)}."
    )


def speed_words(footprint: Footprint) -> str:
    """How long a step takes at least, where it was not measured."""
    if not footprint.matrix_speed:
        return "**Time** was not measured: neither the weights nor the device of this run are on this machine."
    return (
        "**Time** was not measured, because the weights are not on this machine. At the matrix speed measured on "
        f"{footprint.device}, {_operations(footprint.matrix_speed)} per second, a step would take at least "
        f"{duration(footprint.flops / footprint.matrix_speed)}; this assumes that nothing else takes time, so real "
        "steps are slower."
    )


def estimate_words(estimate: Estimate, settings: TrainSettings) -> str:
    """Time and memory of a run."""
    where = "of GPU memory" if estimate.device.startswith("cuda") else "of main memory for the whole process"
    return (
        f"**Time** on {estimate.device}: about **{duration(estimate.seconds)}**, at {estimate.seconds_per_step:.2g} s "
        f"for each of {settings.steps:,} steps, {estimate.seconds_per_validation:.2g} s for a validation and "
        f"{estimate.seconds_per_preview:.2g} s for a preview; preparing the data comes on top.\n\n"
        f"**Memory**: {_gigabytes(estimate.peak_bytes)} {where}; the samples take up to "
        f"{_gigabytes(estimate.sample_bytes)} of main memory besides. A side network has "
        f"{estimate.parameters / 1e6:,.1f} million parameters."
    )


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def _millions(count: int) -> str:
    return f"{count / 1e6:,.0f} million" if count >= 1e7 else f"{count / 1e6:.2g} million"


def _operations(count: float) -> str:
    return f"{count / 1e12:,.3g} TFLOP" if count >= 1e11 else f"{count / 1e9:,.3g} GFLOP"


def _code(text: str) -> str:
    """A text from outside as it is, whatever Markdown would make of it."""
    return "`" + " ".join(text.replace("`", "'").split()) + "`"
