"""The content of a `kit.toml`: its parts by name, wherever their files are."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from composer.kit_parts import ComposerFiles
from generation.controls import ControlKind
from generation.defaults import DrawingDefaults

KIT_FILE = "kit.toml"
FILE_TYPES = (".safetensors", ".json", ".txt", ".model")
CLIP, SEARCH, PIPELINE = "CLIP", "search tower", "pipeline"
CONTROLNET, CONTROL, LORA = "control network", "control network ", "LoRA "
"""Names of parts; those of further control networks and of LoRAs are followed by their own."""
IP_ADAPTER = "IP-Adapter"
FINISH = "finish"


class KitError(ValueError):
    """A kit that does not exist or cannot be read; the message says what to do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HubSource:
    """Files of a repository on the hub.

    Attributes:
        repository: "owner/name".
        patterns: Shell patterns of the files that are needed; each must match at least one.
        revision: Branch, tag or commit that a first download starts from.
        is_weights_only: Whether `.pth` files are allowed, as torch's weights-only loader opens
            them; never for the models of a kit.
    """

    repository: str
    patterns: tuple[str, ...]
    revision: str = "main"
    is_weights_only: bool = False

    def __post_init__(self) -> None:
        """Check that no pattern asks for a format that can run code.

        Raises:
            KitError: A pattern does not end in a safe file type.
        """
        types = (*FILE_TYPES, ".pth") if self.is_weights_only else FILE_TYPES
        for pattern in self.patterns:
            if PurePosixPath(pattern).suffix not in types:
                raise KitError(
                    f"The files {pattern!r} of {self.repository} must be one of "
                    f"{', '.join(FILE_TYPES)}; other formats are not downloaded."
                )


@dataclass(frozen=True, kw_only=True, slots=True)
class KitPart:
    """A model of a kit.

    Attributes:
        location: Files on the hub, or a folder or file on this machine.
        licence: Of the weights, in a few words.
        size_bytes: Of the files on the hub, about, so that it can be shown without the network.
    """

    location: HubSource | Path
    licence: str = ""
    size_bytes: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class LoraPart:
    """A LoRA that the pipeline is loaded with.

    Attributes:
        part: Where its file is.
        file: Name of the file within the repository or folder.
        scale: How strongly it acts.
    """

    part: KitPart
    file: str
    scale: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class ControlPart:
    """A control network beside the kit's default one; it is downloaded on request.

    Attributes:
        part: Where its files are; a union network may serve several names.
        kind: What it follows.
    """

    part: KitPart
    kind: ControlKind


@dataclass(frozen=True, kw_only=True, slots=True)
class IpAdapterPart:
    """An IP-Adapter, through which a picture steers the style.

    Attributes:
        part: Where its files are.
        adapter: Name of its weights within the repository or folder.
        image_encoder: Folder of its image encoder there.
    """

    part: KitPart
    adapter: str
    image_encoder: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchPart:
    """The CLIP that galleries are indexed with, beside the one that draws.

    Attributes:
        tower: Where its files are.
        composers: Files and settings of the composers that were made for it, by name.
        confidence: Calibration of a composer's rankings, by its name.
    """

    tower: KitPart
    composers: Mapping[str, ComposerFiles]
    confidence: Mapping[str, Path]


@dataclass(frozen=True, kw_only=True, slots=True)
class KitFile:
    """A `kit.toml` as it is written.

    Attributes:
        name: Name of the kit.
        folder: Of the `kit.toml`.
        folders: That, then those of the kits it is based on, the nearest first.
        clip: The CLIP.
        pipeline: The diffusion pipeline, if the kit draws.
        checkpoint: One file with the pipeline's weights; its settings come from `pipeline`.
        without: Models of the pipeline that it does without.
        controlnet: The default control network, if there is one.
        control_kind: What that follows; it is also its name.
        controls: Further control networks, by name.
        loras: LoRAs of the pipeline, by name.
        finish: LoRA of the denoiser that finishes what the pipeline's begins, if there is one.
        ip_adapter: The IP-Adapter, if there is one.
        drawing: What the pipeline is asked for unless a request says otherwise.
        scheduler: Sampler in place of the pipeline's, and its settings.
        speed: Levers of speed, by name.
        composers: Files and settings of each composer, by name.
        confidence: Calibration of a composer's rankings, by its name.
        converter: Weights that turn joint features into tokens.
        search: The tower that searches, where it is another than the CLIP.
        judge: Classifier of kinds and colours.
        feature_judge: Second classifier of kinds.
        licence: One line about the permitted uses of the weights.
        knows: One line about what the kit was trained on.
        domains: Domains that the kit was trained on.
        fast: Name or folder of the kit that draws the same in fewer steps, if there is one.
    """

    name: str
    folder: Path
    folders: tuple[Path, ...]
    clip: KitPart
    pipeline: KitPart | None
    checkpoint: Path | None
    controlnet: KitPart | None
    loras: Mapping[str, LoraPart]
    drawing: DrawingDefaults
    scheduler: Mapping[str, Any]
    composers: Mapping[str, ComposerFiles]
    without: tuple[str, ...] = ()
    control_kind: ControlKind = ControlKind.SCRIBBLE
    controls: Mapping[str, ControlPart] = field(default_factory=dict[str, ControlPart])
    ip_adapter: IpAdapterPart | None = None
    finish: LoraPart | None = None
    confidence: Mapping[str, Path] = field(default_factory=dict[str, Path])
    speed: Mapping[str, Any] = field(default_factory=dict[str, Any])
    converter: Path | None = None
    search: SearchPart | None = None
    judge: Path | None = None
    feature_judge: Path | None = None
    licence: str = ""
    knows: str = ""
    domains: tuple[str, ...] = ()
    fast: str = ""

    @property
    def parts(self) -> dict[str, KitPart]:
        """All parts by name, in the order in which they are loaded."""
        search = None if self.search is None else self.search.tower
        named = {
            CLIP: self.clip,
            SEARCH: search,
            PIPELINE: self.pipeline,
            CONTROLNET: self.controlnet,
            IP_ADAPTER: None if self.ip_adapter is None else self.ip_adapter.part,
            FINISH: None if self.finish is None else self.finish.part,
        }
        loras = {f"{LORA}{name}": lora.part for name, lora in self.loras.items()}
        return {name: part for name, part in named.items() if part is not None} | loras

    @property
    def optional_parts(self) -> dict[str, KitPart]:
        """Parts that are downloaded on request only, by name."""
        return {f"{CONTROL}{name}": control.part for name, control in self.controls.items()}

    @property
    def control_names(self) -> tuple[str, ...]:
        """Names of its control networks, the default first."""
        default = () if self.controlnet is None else (str(self.control_kind),)
        return (*default, *self.controls)

    @property
    def sources(self) -> tuple[HubSource, ...]:
        """What the kit takes from the hub, without the optional parts."""
        return hub_sources(self.parts)

    @property
    def local_files(self) -> tuple[Path, ...]:
        """Files and folders on this machine that the kit names."""
        parts = {**self.parts, **self.optional_parts}
        locations = (part.location for part in parts.values())
        composers, confidence = dict(self.composers), dict(self.confidence)
        if self.search is not None:
            composers |= {f"{SEARCH} {n}": files for n, files in self.search.composers.items()}
            confidence |= {f"{SEARCH} {n}": path for n, path in self.search.confidence.items()}
        weights = [files.weights for files in composers.values()]
        named = [
            self.checkpoint,
            self.judge,
            self.feature_judge,
            self.converter,
            *weights,
            *confidence.values(),
        ]
        return (
            *(location for location in locations if isinstance(location, Path)),
            *(path for path in named if path is not None),
        )


def hub_sources(parts: Mapping[str, KitPart]) -> tuple[HubSource, ...]:
    """Return what parts take from the hub."""
    locations = (part.location for part in parts.values())
    return tuple(location for location in locations if isinstance(location, HubSource))
