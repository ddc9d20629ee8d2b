"""Typed options of each command, made from what the command line parsed."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Final, TypeVar, get_type_hints

from retrieval.store.address import IndexLocation

Options = TypeVar("Options")


@dataclass(frozen=True, kw_only=True, slots=True)
class KitOptions:
    """The kit and the hardware it runs on.

    Attributes:
        kit: Name, or path of the kit's folder.
        device: As torch names it; "auto" is the fastest present.
        dtype: Precision; "auto" is the fastest that the device computes natively.
        fast: Draw with the kit that this one names for it, if any, and with all levers of speed
            that keep the image but for rounding.
        offload: What leaves the card while it is not at work.
    """

    kit: str
    device: str
    dtype: str
    fast: bool = False
    offload: str = "auto"


@dataclass(frozen=True, kw_only=True, slots=True)
class QueryOptions:
    """The query: a reference and words, or the file of a composed one.

    Attributes:
        sketch: File of the drawing.
        image: File of a photo.
        text: The words.
        saved_query: File of a composed query; excludes the other three.
        balance: 0 is the reference, 1 the words; None for the middle, or the saved query's.
        composer: Name; None for the kit's default.
        tokens: Token files that the text may name, some with a name.
    """

    sketch: Path | None
    image: Path | None
    text: str
    saved_query: Path | None
    balance: float | None
    composer: str | None
    tokens: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class DrawingOptions:
    """How images are drawn, for generation and transfer alike; None is the kit's own value.

    A seed of None is drawn at random; an empty control name is the kit's default.
    """

    seed: int | None
    num_images: int
    num_inference_steps: int | None
    guidance_scale: float | None
    controlnet_conditioning_scale: float | None
    finish_noise: float | None
    negative_text: str
    control_name: str


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoOptions:
    """Options of `duet demo`."""

    kit: KitOptions
    index: IndexLocation | None
    host: str
    port: int
    allowed_hosts: tuple[str, ...]
    frame_ancestors: tuple[str, ...]
    is_public: bool
    root_path: str
    proxies: tuple[str, ...]
    auth: Path | None
    access_log: Path | None
    metrics_port: int | None
    content_check: str | None
    offers_saved: bool
    opens_browser: bool
    loras: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class PasswordOptions:
    """Options of `duet password`."""

    name: str


@dataclass(frozen=True, kw_only=True, slots=True)
class IndexCommandOptions:
    """Options of `duet index`."""

    kit: KitOptions
    folders: tuple[Path, ...]
    index: IndexLocation | None
    rebuild: bool
    publish: str | None
    publish_root: Path | None
    items: Path | None
    near: float
    engine: str | None
    watch: bool
    check: bool
    repair: bool
    export_to: Path | None
    import_from: Path | None
    json: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchOptions:
    """Options of `duet search`; the seed is for the pictures that are imagined."""

    kit: KitOptions
    query: QueryOptions
    index: IndexLocation | None
    filter: str | None
    top_k: int
    like: tuple[str, ...]
    unlike: tuple[str, ...]
    within: Path | None
    diversity: float
    all_copies: bool
    sheet: Path | None
    evidence: bool
    imagine: int | None
    seed: int
    save_query: Path | None
    overwrite: bool
    json: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerateOptions:
    """Options of `duet generate`; `loras` and `style_image` are files, some with a scale.

    `size` is the width and height of the images in pixels; None is the kit's own. `best_of` is how
    many images are drawn and put in order; None draws without an order. The index is the gallery
    that is searched first; None is the shipped one.
    """

    kit: KitOptions
    query: QueryOptions
    drawing: DrawingOptions
    size: tuple[int, int] | None
    best_of: int | None
    index: IndexLocation | None
    loras: tuple[str, ...]
    control_image: Path | None
    control_from: str | None
    style_image: str | None
    output: Path
    overwrite: bool
    json: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class LearningOptions:
    """How a domain is learned from examples.

    Attributes:
        like_subject: Photographs of the examples' own subject, or folders of them.
        inverts: Search for the tokens.
    """

    like_subject: tuple[Path, ...]
    inverts: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskOptions:
    """The part of an image that is drawn anew; at most one of the first three is given.

    Attributes:
        mask: File of a painted mask, white where the image is drawn anew.
        box: Left edge, top edge, width, height, in pixels.
        where: Words that name the part.
        is_inverted: Draw everything else anew.
    """

    mask: Path | None
    box: tuple[int, int, int, int] | None
    where: str | None
    is_inverted: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class TransferOptions:
    """Options of `duet transfer`; the domain is named by `to` or shown by the pictures `like`."""

    kit: KitOptions
    drawing: DrawingOptions
    learning: LearningOptions
    masking: MaskOptions
    like: tuple[Path, ...]
    sweeps: bool
    best_of: int | None
    save_token: Path | None
    loras: tuple[str, ...]
    control_image: Path | None
    control_from: str | None
    style_image: str | None
    source: Path
    to: str
    strength: float | None
    is_faithful: bool
    keeps_colours: bool
    keeps_size: bool
    composer: str | None
    tokens: tuple[str, ...]
    output: Path
    overwrite: bool
    json: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class DomainsOptions:
    """Options of `duet domains`: `action` is "list", "add", "remove" or "export"."""

    kit: KitOptions
    learning: LearningOptions
    action: str
    name: str | None
    files: tuple[Path, ...]
    overwrite: bool
    json: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportTokenOptions:
    """Options of `duet export-token`; the number of tokens is for absorbed words alone."""

    kit: KitOptions
    query: QueryOptions
    format: str
    absorb_text: bool
    num_tokens: int | None
    output: Path
    overwrite: bool
    json: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class RerunOptions:
    """Options of `duet rerun`."""

    kit_name: str | None
    device: str
    dtype: str
    image: Path
    source: Path | None
    style_image: Path | None
    loras: tuple[str, ...]
    output: Path
    overwrite: bool
    json: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class CompareOptions:
    """Options of `duet compare`."""

    first: Path
    second: Path
    output: Path | None
    overwrite: bool
    json: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class KitsOptions:
    """Options of `duet kits`.

    Attributes:
        action: "fetch" or "remove"; None lists the kits.
        name: Name or folder of the kit to fetch or remove.
        controls: Control networks to fetch beside the kit's default one.
        is_confirmed: Download without asking.
        json: Print JSON.
    """

    action: str | None
    name: str | None
    controls: tuple[str, ...]
    is_confirmed: bool
    json: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainOptions:
    """Options of `duet train`."""

    stage: str
    name: str | None
    kit_name: str | None
    budget: str
    out: Path
    pack: Path
    natural: Path | None


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchOptions:
    """Options of `duet bench`; each benchmark reads those that it has a use for."""

    kit: KitOptions
    bench: str
    seed: int
    sheet: Path | None
    composers: tuple[str, ...] | None
    page: Path | None
    natural: Path | None
    imagenet_r: tuple[Path, Path] | None
    pack: Path | None
    count: int | None
    publish: str | None
    steps: int | None
    has_random_weights: bool
    batches: tuple[int, ...] | None
    columns: tuple[str, ...] | None
    control: str
    dim: int
    items: int
    imagine: int | None
    best_of: int | None
    ways: tuple[str, ...] | None
    strength: float | None
    is_faithful: bool
    json: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class DoctorOptions:
    """Options of `duet doctor`."""

    kit: KitOptions
    json: bool


OPTIONS: Final[Mapping[str, type[Any]]] = {
    "password": PasswordOptions,
    "demo": DemoOptions,
    "index": IndexCommandOptions,
    "search": SearchOptions,
    "generate": GenerateOptions,
    "transfer": TransferOptions,
    "domains": DomainsOptions,
    "export-token": ExportTokenOptions,
    "rerun": RerunOptions,
    "compare": CompareOptions,
    "kits": KitsOptions,
    "train": TrainOptions,
    "bench": BenchOptions,
    "doctor": DoctorOptions,
}


def make_options(kind: type[Options], values: Mapping[str, Any]) -> Options:
    """Make options from parsed values by name; lists become tuples.

    Args:
        kind: A class of options; its fields may be groups of options themselves.
        values: Must have a value for every field.
    """
    hints = get_type_hints(kind)
    arguments: dict[str, Any] = {}
    for field in fields(kind):  # pyright: ignore[reportArgumentType]  always a dataclass
        if is_dataclass(hints[field.name]):
            arguments[field.name] = make_options(hints[field.name], values)
        else:
            value = values[field.name]
            arguments[field.name] = tuple(value) if isinstance(value, list) else value
    return kind(**arguments)
