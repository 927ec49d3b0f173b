"""Colours and letters: slate blue is the baseline and amber is LISA, here and in style.css."""

from __future__ import annotations

from pathlib import Path

import gradio as gr
from gradio.themes.utils import colors

STYLE = Path(__file__).with_name("style.css")
COLOURS = dict(  # noqa: C408  (reads like the call it is for)
    body_background_fill="*neutral_50",
    body_background_fill_dark="*neutral_950",
    body_text_color_subdued="*neutral_600",
    body_text_color_subdued_dark="*neutral_400",
    background_fill_primary_dark="*neutral_900",
    block_background_fill="white",
    block_background_fill_dark="*neutral_900",
    block_border_color="*neutral_200",
    block_border_color_dark="*neutral_800",
    block_info_text_color="*neutral_600",
    block_info_text_color_dark="*neutral_400",
    block_title_text_weight="700",
    block_title_text_color="*neutral_700",
    block_title_text_color_dark="*neutral_200",
    input_background_fill_dark="*neutral_800",
    button_primary_background_fill="*primary_700",
    button_primary_background_fill_dark="*primary_700",
    button_primary_background_fill_hover="*primary_800",
    button_primary_background_fill_hover_dark="*primary_800",
    button_primary_text_color="white",
    button_primary_text_color_dark="white",
    button_large_text_weight="700",
    button_secondary_background_fill="*neutral_100",
    button_secondary_background_fill_dark="*neutral_800",
    button_secondary_background_fill_hover="*neutral_200",
    button_secondary_background_fill_hover_dark="*neutral_700",
    slider_color="*primary_600",
    slider_color_dark="*primary_500",
    color_accent="*primary_700",
)


def theme() -> gr.themes.Base:
    """Warm greys, an amber accent that white letters can be read on, and fonts that come with Gradio."""
    return gr.themes.Default(
        primary_hue=colors.amber,
        secondary_hue=colors.slate,
        neutral_hue=colors.stone,
        radius_size=gr.themes.sizes.radius_lg,
        # The semi-bold files that come with Gradio hold hardly any Latin letters; 700 is complete.
        font=[
            gr.themes.LocalFont("Source Sans Pro", weights=(400, 700)),
            "ui-sans-serif",
            "system-ui",
            "sans-serif",
        ],
        font_mono=[gr.themes.LocalFont("IBM Plex Mono", weights=(400, 700)), "ui-monospace", "monospace"],
    ).set(**COLOURS)
