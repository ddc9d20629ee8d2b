"""Metadata of a PNG of any program that is known here."""

from pathlib import Path

from generation.foreign.a1111 import read_parameters
from generation.foreign.comfyui import read_comfyui
from generation.foreign.invokeai import read_invokeai
from generation.foreign.settings import ForeignSettings
from generation.png_text import png_bytes, text_chunks
from generation.provenance import (
    CHUNK,
    PARAMETERS,
    Provenance,
    ProvenanceError,
    provenance_of,
)

INVOKEAI, PROMPT, WORKFLOW = "invokeai_metadata", "prompt", "workflow"
_PROGRAMS = "Duet Studio, A1111, ComfyUI and InvokeAI"


def read_metadata(source: Path | bytes) -> Provenance | ForeignSettings:
    """Read how a PNG was made: its provenance, or the settings of another program.

    Raises:
        MetadataError: the file is no PNG, has no metadata that is known here, or they are too long
            or damaged.
    """
    data = png_bytes(source)
    texts = text_chunks(data, (CHUNK, PARAMETERS))
    if CHUNK in texts:
        return provenance_of(texts)
    texts |= text_chunks(data, (INVOKEAI, PROMPT, WORKFLOW))
    if INVOKEAI in texts:
        return read_invokeai(texts[INVOKEAI])
    if texts.get(PARAMETERS):
        return read_parameters(texts[PARAMETERS])
    if PROMPT in texts or WORKFLOW in texts:
        return read_comfyui(texts.get(PROMPT, ""), texts.get(WORKFLOW, ""))
    raise ProvenanceError(
        f"This PNG does not say how it was made, in a way that is read here: that of {_PROGRAMS}."
    )
