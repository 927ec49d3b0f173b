"""What is said of a run that is watched: where it stands, and when one arm reached the first one's loss."""

from __future__ import annotations

from app.sides import title_of
from app.waiting import duration, standing_words
from lisa.rundesk import Watch
from lisa.settings import parse_arms

WORDS = {
    "starting": "is starting",
    "preparing": "is preparing its data",
    "running": "is running",
    "stopped": "was stopped and saved",
    "finished": "is finished",
    "failed": "failed",
    "died": "ended unexpectedly",
}


def status_words(watch: Watch) -> str:
    """How far a run is, how long it still takes, and what went wrong."""
    p = watch.progress
    if p.status == "imported":
        return f"**This side network was not trained here.** {p.reason}"
    if p.doing:
        return f"**The run is preparing**: {standing_words(p.doing)}."
    words = f"**The run {WORDS[p.status]}**: step {p.step:,} of {p.steps:,}"
    if p.alive and p.step == p.steps:
        words += "; the last validation, previews and checkpoint are being made"
    elif p.alive and p.seconds_per_step:
        pace = p.seconds_per_step
        speed = f"{pace:.1f} s for a step" if pace >= 1 else f"{1 / pace:.1f} steps/s"
        words += f", {speed}, {_least(watch)}{duration(p.remaining)} to go"
    if p.reason:
        words += f". {p.reason}"
    if p.fruitless:
        words += ". It took no step, so its name is free: mend the settings and press **Start**."
    kept = f" Kept checkpoints: {', '.join(f'{step:,}' for step in p.checkpoints)}." if p.checkpoints else ""
    return f"{words}.{kept}".replace("..", ".")


def _least(watch: Watch) -> str:
    """What stands before the remaining time while nobody knows yet how long what comes between the steps takes."""
    s = watch.settings
    return "at least " if watch.progress.step <= max(s.validate_every, s.preview_every, s.checkpoint_every) else ""


def answer_words(watch: Watch) -> str:
    """When did each arm reach the first arm's validation loss?"""
    lines, first = [], parse_arms(watch.settings.arms)[0].name
    reference = "the baseline" if first == "baseline" else title_of(first)
    for arm, match in watch.match.items():
        if match is None or match.whole == 0:
            continue
        name, level = title_of(arm), f"{reference}'s validation loss {match.level:.4f}"
        if match.step is None:
            lines.append(f"{name} has **not** reached {level} so far.")
            continue
        words = f"{name} reached {level} after **{match.step:.0f}** steps"
        if match.early is not None:
            until = f"{match.late:.0f}" if match.late is not None else f"more than {match.whole}"
            words += f" (95 %: {match.early:.0f} to {until})"
        lines.append(f"{words}; {reference} needed {match.whole}.")
    return "  \n".join(lines)
