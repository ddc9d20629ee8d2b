"""Theme of the page: paper, ink and one warm colour, with system fonts."""

from typing import Any

import gradio as gr

SERIF = '"Iowan Old Style", "Palatino Linotype", Palatino, P052, "Book Antiqua", Georgia, serif'
SANS = ("ui-sans-serif", "system-ui", "Segoe UI", "Helvetica Neue", "Noto Sans", "sans-serif")
MONO = ("ui-monospace", "SF Mono", "DejaVu Sans Mono", "monospace")
PAPER, SHEET, INK, MUTED, RULE = "#f5f1e8", "#fffdf8", "#2c2a26", "#6f6a5f", "#ddd5c5"
WARM, WARM_DARK, WARM_PALE = "#a2452a", "#87371f", "#f3e2d8"
THEME_FONTS = (
    f":root {{ --duet-serif: {SERIF}; --duet-paper: {PAPER}; --duet-sheet: {SHEET}; "
    f"--duet-ink: {INK}; --duet-muted: {MUTED}; --duet-rule: {RULE}; --duet-warm: {WARM}; "
    f"--duet-warm-pale: {WARM_PALE}; }}"
)


_SETTINGS: dict[str, Any] = {
    "body_background_fill": PAPER,
    "body_text_color": INK,
    "body_text_color_subdued": MUTED,
    "background_fill_primary": SHEET,
    "background_fill_secondary": PAPER,
    "border_color_primary": RULE,
    "border_color_accent": WARM,
    "color_accent": WARM,
    "color_accent_soft": WARM_PALE,
    "block_background_fill": "transparent",
    "block_border_width": "0px",
    "block_padding": "0px",
    "block_shadow": "none",
    "block_label_background_fill": SHEET,
    "block_label_text_color": MUTED,
    "block_title_text_color": MUTED,
    "block_title_text_size": "*text_sm",
    "block_title_text_weight": "500",
    "block_info_text_color": MUTED,
    "panel_background_fill": "transparent",
    "form_gap_width": "0px",
    "layout_gap": "14px",
    "input_background_fill": SHEET,
    "input_border_color": RULE,
    "input_border_width": "1px",
    "input_border_color_focus": WARM,
    "input_shadow_focus": f"0 0 0 3px {WARM_PALE}",
    "input_placeholder_color": "#a49c8c",
    "slider_color": WARM,
    "button_primary_background_fill": WARM,
    "button_primary_background_fill_hover": WARM_DARK,
    "button_primary_text_color": "#ffffff",
    "button_primary_border_color": WARM,
    "button_secondary_background_fill": SHEET,
    "button_secondary_background_fill_hover": WARM_PALE,
    "button_secondary_border_color": RULE,
    "button_secondary_text_color": INK,
    "checkbox_background_color": SHEET,
    "checkbox_background_color_selected": WARM,
    "checkbox_border_color": RULE,
    "checkbox_border_color_selected": WARM,
    "checkbox_label_background_fill": SHEET,
    "checkbox_label_background_fill_selected": WARM_PALE,
    "checkbox_label_border_color": RULE,
    "checkbox_label_text_color": INK,
    "checkbox_label_text_color_selected": INK,
    "loader_color": WARM,
    "stat_background_fill": WARM_PALE,
}


def theme() -> gr.themes.Base:
    """Return the theme; its dark mode has the same colours, which suit the gallery."""
    base: Any = gr.themes.Base(font=SANS, font_mono=MONO, text_size="md", radius_size="sm").set(
        **_SETTINGS
    )
    for name in [name for name in vars(base) if name.endswith("_dark")]:
        setattr(base, name, getattr(base, name.removesuffix("_dark")))
    return base
