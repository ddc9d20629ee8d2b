"""Provenance of an image inside its PNG, from which its request can be rebuilt.

Two text chunks: `parameters` as the A1111 web UI writes it, for other tools, and `duet_studio`, one
JSON object with a schema version. It never holds pixels of the user's images, only their hash: a
transfer is re-run together with its source.
"""

import base64
import binascii
import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from composer.composed import TENSORS, ComposedQuery, query_fields, query_from_fields
from composer.emphasis import spell_emphasis
from composer.files import atomic_file
from composer.query import MAX_TEXT_LENGTH
from generation.best_of import Selection, selection_of
from generation.lora import LoraSource, MergedLora
from generation.lora_header import LoraError
from generation.masking import Mask
from generation.png_text import MetadataError, png_bytes, text_chunks
from generation.request import (
    DrawingSettings,
    GenerateRequest,
    Request,
    RequestError,
    Scheduler,
    StyleImage,
    TransferRequest,
)
from generation.sample import Result, pixels_hash
from generation.sizes import fit_source

CHUNK, PARAMETERS = "duet_studio", "parameters"
SCHEMA = 1
MAX_LORAS = 16
_MAX_ARRAY_VALUES = 1 << 21
_MAX_NAME_LENGTH = 80
_SECOND = "second_vectors"
_SWITCHES = ("is_faithful", "keeps_colours", "keeps_size")  # of a transfer; left out where off
_SHA256 = re.compile(r"[0-9a-f]{64}")


class ProvenanceError(MetadataError):
    """A PNG whose provenance cannot be used; the message says why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Provenance:
    """The provenance chunks of a PNG; everything in them is untrusted.

    Attributes:
        fields: the JSON object.
        parameters: the A1111 line, or "".
    """

    fields: dict[str, Any]
    parameters: str = ""


def describe(
    result: Result, index: int, *, kit: str = "", selection: Selection | None = None
) -> Provenance:
    """Describe everything that one image of a result depends on.

    Args:
        result: the result.
        index: which image.
        kit: name of the kit that drew it.
        selection: its place among further images of the query, which it does not depend on.
    """
    request = result.request
    fields: dict[str, Any] = {
        "schema": SCHEMA,
        "kind": "transfer" if isinstance(request, TransferRequest) else "generate",
        "kit": kit,
        "index": index,
        "height": result.height,
        "width": result.width,
        "device": result.device,
        "weights_hash": result.weights_hash,
        "scheduler": str(request.settings.scheduler),
        "control_name": request.settings.control_name,
        "query": _pack_query(request.query),
        **{name: getattr(request.settings, name) for name in _PLAIN_FIELDS},
    }
    if request.negative is not None:
        fields["negative"] = _pack_query(request.negative)
    if (control := result.control_of(index)) is not None:
        fields |= _pack_control(control)
    if request.settings.finish_noise > 0:
        fields["finish_noise"] = request.settings.finish_noise
    if result.loras:
        fields["loras"] = [asdict(lora) for lora in result.loras]
    if request.style is not None and request.style.scale > 0:
        fields["style"] = {
            "image_hash": pixels_hash(request.style.image),
            "scale": request.style.scale,
            "adapter_sha256": result.adapter_hash,
        }
    if selection is not None:
        fields["best_of"] = selection.as_fields()
    if isinstance(request, TransferRequest):
        fields |= _pack_transfer(request, result)
    elif request.enlarged_to is not None:
        fields["enlarged_to"] = list(request.enlarged_to)
    return Provenance(fields=fields, parameters=_a1111(result, index, kit))


def write_png(path: Path, image: Image.Image, provenance: Provenance) -> None:
    """Save an image with its provenance; the file appears whole or not at all.

    Raises:
        OSError: the disk is full or the folder cannot be written.
    """
    chunks = PngInfo()
    chunks.add_itxt(PARAMETERS, provenance.parameters)
    chunks.add_text(CHUNK, json.dumps(provenance.fields, ensure_ascii=True, allow_nan=False))
    with atomic_file(path, is_durable=True) as file:
        image.save(file, format="PNG", pnginfo=chunks)


def read_png(source: Path | bytes) -> Provenance:
    """Read the provenance of a PNG without decoding its pixels.

    Raises:
        MetadataError: the file is no PNG, or its chunk is too long.
        ProvenanceError: the chunk is missing, damaged or of another schema.
    """
    texts = text_chunks(png_bytes(source), (CHUNK, PARAMETERS))
    if CHUNK not in texts:
        raise ProvenanceError("This PNG does not say how it was made by Duet Studio.")
    return provenance_of(texts)


def provenance_of(texts: Mapping[str, str]) -> Provenance:
    """Return the provenance in the text chunks of a PNG; there is a `CHUNK` among them.

    Raises:
        ProvenanceError: it is damaged or of another schema.
    """
    try:
        fields = json.loads(texts[CHUNK])
    except (ValueError, RecursionError) as error:
        raise ProvenanceError("The PNG's provenance is damaged.") from error
    if not isinstance(fields, dict) or fields.get("schema") != SCHEMA:
        raise ProvenanceError(f"The PNG's provenance must be of schema {SCHEMA}.")
    return Provenance(fields=fields, parameters=texts.get(PARAMETERS, ""))


def rebuild_request(
    provenance: Provenance,
    source: Image.Image | None = None,
    style_image: Image.Image | None = None,
) -> Request:
    """Rebuild the request that an image came from.

    Args:
        provenance: as read, untrusted: every value passes the request's own checks.
        source: the RGB image that was transferred; unused for a generated image.
        style_image: the RGB image that steered the style; unused where none did.

    Raises:
        ProvenanceError: something is missing or of the wrong kind, or the source is another image.
        RequestError: a value is beyond the caps.
    """
    fields = provenance.fields
    try:
        shared: dict[str, Any] = {
            "query": _unpack_query(fields["query"]),
            "settings": _unpack_settings(fields),
            "style": _unpack_style(fields, style_image),
        }
        if "negative" in fields:
            shared["negative"] = _unpack_query(fields["negative"])
        if "control" in fields or "grey_control" in fields:
            shared["control"] = _unpack_control(fields)
        if fields["kind"] == "generate":
            return GenerateRequest(**shared, enlarged_to=_unpack_size(fields.get("enlarged_to")))
        if fields["kind"] != "transfer":
            raise ProvenanceError("The PNG's provenance names an unknown kind of image.")
        if source is None:
            raise ProvenanceError("To make a transferred image again, give its source image too.")
        request = TransferRequest(
            source=source,
            mask=_unpack_mask(fields),
            strength=fields["strength"],
            **{name: fields.get(name) is True for name in _SWITCHES},
            **shared,
        )
    except (ProvenanceError, RequestError):
        raise
    except (KeyError, TypeError, ValueError, ArithmeticError, AttributeError, zlib.error) as error:
        raise ProvenanceError(f"The PNG's provenance is damaged: {error}") from error
    expected = _source_hash(request, fields["height"], fields["width"])
    if expected != fields.get("source_hash"):
        raise ProvenanceError("The source is not the image that was transferred.")
    return request


def _unpack_style(fields: dict[str, Any], image: Image.Image | None) -> StyleImage | None:
    if "style" not in fields:
        return None
    if image is None:
        raise ProvenanceError("To make this image again, give its style image too.")
    if pixels_hash(image) != fields["style"]["image_hash"]:
        raise ProvenanceError("The style image is not the one that the image was drawn with.")
    return StyleImage(image=image, scale=fields["style"]["scale"])


def recorded_selection(provenance: Provenance) -> Selection | None:
    """Return the place of an image among those it was selected from; untrusted, but checked.

    Raises:
        ProvenanceError: the entry is damaged.
    """
    if "best_of" not in provenance.fields:
        return None
    try:
        return selection_of(provenance.fields["best_of"])
    except (KeyError, TypeError, ValueError) as error:
        raise ProvenanceError(
            "The PNG's provenance is damaged: its place among several."
        ) from error


def recorded_loras(provenance: Provenance) -> tuple[MergedLora, ...]:
    """Return the LoRAs that an image was drawn with, in their order; untrusted, but checked.

    Raises:
        ProvenanceError: an entry is damaged, or there are more than `MAX_LORAS`.
    """
    entries = provenance.fields.get("loras", [])
    if not isinstance(entries, list) or len(entries) > MAX_LORAS:
        raise ProvenanceError("The PNG's provenance is damaged: its LoRAs are no list.")
    return tuple(_unpack_lora(entry) for entry in entries)


def _unpack_lora(entry: object) -> MergedLora:
    try:
        assert isinstance(entry, dict)
        name = re.sub(r"[^\w .()+-]", "?", str(entry["name"]))[:_MAX_NAME_LENGTH]
        sha256 = entry["sha256"]
        assert isinstance(sha256, str)
        assert _SHA256.fullmatch(sha256)
        scale = LoraSource(file=Path(name), scale=float(entry["scale"])).scale
    except (AssertionError, KeyError, TypeError, ValueError, LoraError) as error:
        raise ProvenanceError("The PNG's provenance is damaged: a LoRA's entry.") from error
    return MergedLora(name=name, sha256=sha256, scale=scale)


_PLAIN_FIELDS = (
    "seed",
    "num_images",
    "num_inference_steps",
    "guidance_scale",
    "controlnet_conditioning_scale",
    "negative_text",
)


def _pack_transfer(request: TransferRequest, result: Result) -> dict[str, Any]:
    fields: dict[str, Any] = {"strength": request.strength}
    fields |= {name: True for name in _SWITCHES if getattr(request, name)}
    fields["source_hash"] = _source_hash(request, result.height, result.width)
    return fields if request.mask is None else fields | _pack_mask(request.mask)


def _unpack_size(value: object) -> tuple[int, int] | None:
    if value is None:
        return None
    match value:
        case [int(width), int(height)]:
            return width, height
        case _:
            raise ProvenanceError("The PNG's provenance is damaged: it names no size.")


def _unpack_settings(fields: dict[str, Any]) -> DrawingSettings:
    return DrawingSettings(
        height=fields["height"],
        width=fields["width"],
        scheduler=Scheduler(fields["scheduler"]),
        control_name=fields.get("control_name", ""),
        finish_noise=fields.get("finish_noise", 0.0),
        **{name: fields[name] for name in _PLAIN_FIELDS},
    )


def _a1111(result: Result, index: int, kit: str) -> str:
    request, settings = result.request, result.request.settings
    sampler = {"kit": "DPM++ 2M", "dpm++": "DPM++ 2M", "unipc": "UniPC"}[str(settings.scheduler)]
    values: dict[str, Any] = {
        "Steps": settings.num_inference_steps,
        "Sampler": sampler,
        "CFG scale": settings.guidance_scale,
        "Seed": settings.seed + index,
        "Size": f"{result.width}x{result.height}",
        "Model hash": result.weights_hash,
        "Model": kit or "duet",
    }
    if isinstance(request, TransferRequest):
        values["Denoising strength"] = request.strength
    line = ", ".join(f"{name}: {value}" for name, value in values.items())
    prompt = spell_emphasis(request.query.text, request.query.word_weights)
    prompt, negative = _single_line(prompt), _single_line(settings.negative_text)
    return f"{prompt}\nNegative prompt: {negative}\n{line}"


def _single_line(text: str) -> str:
    return " ".join(text.split())


def _source_hash(request: TransferRequest, height: int, width: int) -> str:
    """Hash what a result depends on: where parts of the source stay, all of it."""
    is_whole = request.mask is not None or request.keeps_size
    source = request.source
    return pixels_hash(source if is_whole else fit_source(source, height, width))


def _pack_mask(mask: Mask) -> dict[str, Any]:
    bits = np.packbits(mask.cells, axis=1)
    return {"mask": _pack_array(bits), "mask_columns": mask.cells.shape[1]}


def _unpack_mask(fields: dict[str, Any]) -> Mask | None:
    if "mask" not in fields:
        return None
    bits, columns = _unpack_array(fields["mask"]), fields["mask_columns"]
    if bits.ndim != 2 or bits.dtype != np.uint8 or type(columns) is not int:
        raise ProvenanceError("The PNG's provenance holds no mask.")
    if not 0 < columns <= 8 * bits.shape[1]:
        raise ProvenanceError("The PNG's provenance holds a mask of an impossible size.")
    return Mask(cells=np.unpackbits(bits, axis=1, count=columns).astype(bool))


def _pack_array(values: np.ndarray) -> dict[str, Any]:
    data = zlib.compress(np.ascontiguousarray(values).tobytes(), 6)
    return {
        "shape": list(values.shape),
        "dtype": values.dtype.name,
        "zlib": base64.b64encode(data).decode(),
    }


def _unpack_array(packed: dict[str, Any]) -> np.ndarray:
    """Undo `_pack_array`, with its size known before anything is inflated."""
    shape = tuple(packed["shape"])
    if packed["dtype"] not in ("float32", "uint8"):
        raise ProvenanceError("The PNG's provenance holds an unknown number format.")
    if len(shape) > 3 or not all(isinstance(side, int) and 0 <= side < 1 << 16 for side in shape):
        raise ProvenanceError("The PNG's provenance holds an impossible shape.")
    dtype = np.dtype(packed["dtype"])
    count = int(np.prod(shape, dtype=np.int64)) if shape else 1
    if count > _MAX_ARRAY_VALUES:
        raise ProvenanceError("The PNG's provenance holds too many numbers.")
    try:
        raw = base64.b64decode(packed["zlib"], validate=True)
    except binascii.Error as error:
        raise ProvenanceError("The PNG's provenance is damaged.") from error
    data = zlib.decompressobj().decompress(raw, count * dtype.itemsize + 1)
    if len(data) != count * dtype.itemsize:
        raise ProvenanceError("The PNG's provenance is damaged: an array has the wrong length.")
    values = np.frombuffer(data, dtype).reshape(shape).copy()
    if not np.isfinite(values).all():
        raise ProvenanceError("The PNG's provenance holds numbers that are not finite.")
    return values


def _pack_tensor(tensor: Tensor) -> dict[str, Any]:
    return _pack_array(tensor.detach().cpu().float().numpy())


def _pack_query(query: ComposedQuery) -> dict[str, Any]:
    fields = query_fields(query)
    for name in ("missing_tokens", "layout_weight", "fusion"):  # an image needs none of them
        fields.pop(name, None)
    tensors = {name: getattr(query, name) for name in TENSORS}
    if query.added is not None and query.added.second_vectors is not None:
        tensors[_SECOND] = query.added.second_vectors
    return {**{name: _pack_tensor(tensor) for name, tensor in tensors.items()}, **fields}


def _unpack_query(packed: dict[str, Any]) -> ComposedQuery:
    names = (*TENSORS, _SECOND) if _SECOND in packed else TENSORS
    tensors = {name: torch.from_numpy(_unpack_array(packed[name])) for name in names}
    fields = {**packed, "text": str(packed["text"])[:MAX_TEXT_LENGTH], "missing_tokens": ""}
    return query_from_fields(tensors, fields)


def _pack_control(control: np.ndarray) -> dict[str, Any]:
    """Pack a control image: one bit a pixel where it is black and white."""
    if np.isin(control, (0, 255)).all():
        return {"control": _pack_array(np.packbits(control > 127, axis=1))}
    return {"grey_control": _pack_array(control)}


def _unpack_control(fields: dict[str, Any]) -> np.ndarray:
    if "grey_control" in fields:
        grey = _unpack_array(fields["grey_control"])
        if grey.ndim != 2 or grey.dtype != np.uint8:
            raise ProvenanceError("The PNG's provenance holds no control image.")
        return grey
    bits = np.unpackbits(_unpack_array(fields["control"]), axis=1, count=int(fields["width"]))
    return (bits * 255).astype(np.uint8)
