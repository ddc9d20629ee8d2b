"""Kits: matched sets of a CLIP backbone, composers and a diffusion pipeline, on this machine."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from composer.kit_parts import ComposerFiles
from generation.controls import LINE_SHARES, ControlKind
from generation.defaults import DrawingDefaults
from generation.style_files import StyleSource
from studio.hub import Hub, default_hub
from studio.kit_contents import (
    CLIP,
    CONTROLNET,
    FINISH,
    IP_ADAPTER,
    KIT_FILE,
    LORA,
    PIPELINE,
    SEARCH,
    ControlPart,
    IpAdapterPart,
    KitError,
    KitFile,
    KitPart,
    LoraPart,
    SearchPart,
)
from studio.kit_file import read_kit_file

DEFAULT_KIT = "mini"


@dataclass(frozen=True, kw_only=True, slots=True)
class Lora:
    """A LoRA file and how strongly it acts."""

    file: Path
    scale: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ControlFiles:
    """A control network beside the kit's default one.

    Attributes:
        folder: Its diffusers folder; None where it was not downloaded.
        kind: What it follows.
    """

    folder: Path | None
    kind: ControlKind


@dataclass(frozen=True, kw_only=True, slots=True)
class TowerFiles:
    """Files of a CLIP and of what was trained for it.

    Attributes:
        backbone: Folder of the CLIP.
        composers: Files and settings of each composer, by name.
        confidence: Calibration of a composer's rankings, by its name, where it was measured.
        converter: Weights that turn joint features into tokens, for composers without tokens.
    """

    backbone: Path
    composers: Mapping[str, ComposerFiles] = field(default_factory=dict[str, ComposerFiles])
    confidence: Mapping[str, Path] = field(default_factory=dict[str, Path])
    converter: Path | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Kit:
    """A kit whose files are all on this machine.

    Attributes:
        name: Name of the kit.
        folder: Folder of its `kit.toml`.
        backbone: Folder of the CLIP.
        composers: Files and settings of each composer, by name.
        confidence: Calibration of a composer's rankings, by its name, where it was measured.
        converter: Weights that turn joint features into tokens, for composers without tokens.
        search: What galleries are indexed and searched with, where the CLIP above only draws.
        pipeline: The diffusers folder, if the kit draws.
        checkpoint: One file with the pipeline's weights, in place of those in the folder.
        without: Models of the pipeline that it does without.
        controlnet: The default control network's folder, if there is one.
        control_kind: What that follows; it is also its name.
        controls: Further control networks, by name.
        loras: LoRAs that the pipeline is loaded with.
        ip_adapter: Through which a picture steers the style, if there is one.
        finish: LoRA of the denoiser that finishes what the pipeline's begins, if there is one.
        drawing: What the pipeline is asked for unless a request says otherwise.
        scheduler: Sampler in place of the pipeline's, and its settings.
        speed: Levers of speed, by name.
        judge: Classifier of kinds and colours for `duet bench generation`, if there is one.
        feature_judge: Second classifier of kinds, for the same.
        licence: One line about the permitted uses of the weights.
        knows: One line about what the kit was trained on, shown on the page.
        domains: Domains that the kit was trained on; empty where any words will do.
        fast: Name or folder of the kit that draws the same in fewer steps, if there is one.
    """

    name: str
    folder: Path
    backbone: Path
    composers: Mapping[str, ComposerFiles]
    confidence: Mapping[str, Path] = field(default_factory=dict[str, Path])
    converter: Path | None = None
    search: TowerFiles | None = None
    pipeline: Path | None = None
    checkpoint: Path | None = None
    without: tuple[str, ...] = ()
    controlnet: Path | None = None
    control_kind: ControlKind = ControlKind.SCRIBBLE
    controls: Mapping[str, ControlFiles] = field(default_factory=dict[str, ControlFiles])
    loras: tuple[Lora, ...] = ()
    ip_adapter: StyleSource | None = None
    finish: Lora | None = None
    drawing: DrawingDefaults = field(default_factory=DrawingDefaults)
    scheduler: Mapping[str, Any] = field(default_factory=dict[str, Any])
    speed: Mapping[str, Any] = field(default_factory=dict[str, Any])
    judge: Path | None = None
    feature_judge: Path | None = None
    licence: str = ""
    knows: str = ""
    domains: tuple[str, ...] = ()
    fast: str = ""

    @property
    def control_names(self) -> tuple[str, ...]:
        """Names of the control networks that are on this machine, the default first."""
        default = () if self.controlnet is None else (str(self.control_kind),)
        return (*default, *(n for n, files in self.controls.items() if files.folder is not None))

    @property
    def line_controls(self) -> tuple[str, ...]:
        """Names of those of them that follow the lines of a drawing."""
        kinds = {name: files.kind for name, files in self.controls.items()}
        return tuple(
            name for name in self.control_names if kinds.get(name, self.control_kind) in LINE_SHARES
        )

    @property
    def control_folders(self) -> tuple[Path, ...]:
        """Folders of the further control networks that are on this machine, each once."""
        return _folders(self.controls.values())

    def find_control(self, name: str) -> str:
        """Return the name of a control network as requests have it: empty for the default one.

        Raises:
            KitError: The kit has none of that name, or it was not downloaded.
        """
        default = () if self.controlnet is None else (str(self.control_kind),)
        if not name or name in default:
            return ""
        if name not in self.controls:
            known = ", ".join((*default, *self.controls))
            raise KitError(
                f"The kit {self.name!r} has no control network {name!r}; choose one of: {known}."
                if known
                else f"The kit {self.name!r} has no control networks."
            )
        if self.controls[name].folder is None:
            raise KitError(
                f"The control network {name!r} of the kit {self.name!r} is not on this machine. "
                f"Download it with: duet kits fetch {self.name} --control {name}"
            )
        return name

    @property
    def drawing_tower(self) -> TowerFiles:
        """What queries are composed with for the pipeline."""
        return TowerFiles(
            backbone=self.backbone,
            composers=self.composers,
            confidence=self.confidence,
            converter=self.converter,
        )

    @property
    def search_tower(self) -> TowerFiles:
        """What galleries are indexed and searched with."""
        return self.drawing_tower if self.search is None else self.search


def load_kit(name: str = DEFAULT_KIT, hub: Hub | None = None) -> Kit:
    """Find the files of a kit, by its name or the path of its folder; nothing is downloaded.

    Args:
        name: Of a kit that ships, or the path of a folder.
        hub: Where the downloads are; None for the usual place.

    Raises:
        KitError: There is no such kit, its `kit.toml` is damaged or names missing files, or a part
            was not downloaded yet.
    """
    file = read_kit_file(name)
    for path in file.local_files:
        if not path.exists():
            raise KitError(
                f"The kit {file.name!r} lacks {path}. Reinstall it, or correct {KIT_FILE}."
            )
    return _locate(file, name, hub or default_hub())


def _locate(file: KitFile, name: str, hub: Hub) -> Kit:
    def find(part: KitPart) -> Path:
        if isinstance(part.location, Path):
            return part.location
        return hub.locate(part.location, kit=name)

    # In the order of use, so that the first part is the first to be reported missing.
    found = {part_name: find(part) for part_name, part in file.parts.items()}
    loras = [
        _located_lora(lora, found[f"{LORA}{lora_name}"]) for lora_name, lora in file.loras.items()
    ]
    return Kit(
        name=file.name,
        folder=file.folder,
        backbone=found[CLIP],
        composers=file.composers,
        confidence=file.confidence,
        converter=file.converter,
        search=None if file.search is None else _search_tower(file.search, found[SEARCH]),
        pipeline=found.get(PIPELINE),
        checkpoint=file.checkpoint,
        without=file.without,
        controlnet=found.get(CONTROLNET),
        control_kind=file.control_kind,
        controls={one: _control_files(part, hub) for one, part in file.controls.items()},
        loras=tuple(loras),
        ip_adapter=_style_source(file.ip_adapter, found.get(IP_ADAPTER)),
        finish=None if file.finish is None else _located_lora(file.finish, found[FINISH]),
        drawing=file.drawing,
        scheduler=file.scheduler,
        speed=file.speed,
        judge=file.judge,
        feature_judge=file.feature_judge,
        licence=file.licence,
        knows=file.knows,
        domains=file.domains,
        fast=file.fast,
    )


def control_folders(file: KitFile, hub: Hub) -> tuple[Path, ...]:
    """Return the folders of a kit's further control networks that are on this machine, each once.

    Raises:
        KitError: The hub's lock file is damaged.
    """
    return _folders(_control_files(part, hub) for part in file.controls.values())


def _folders(controls: Iterable[ControlFiles]) -> tuple[Path, ...]:
    return tuple(dict.fromkeys(one.folder for one in controls if one.folder is not None))


def _control_files(control: ControlPart, hub: Hub) -> ControlFiles:
    location = control.part.location
    if isinstance(location, Path):
        return ControlFiles(folder=location, kind=control.kind)
    folder = hub.locate(location, kit="") if hub.has(location) else None
    return ControlFiles(folder=folder, kind=control.kind)


def _search_tower(search: SearchPart, location: Path) -> TowerFiles:
    return TowerFiles(backbone=location, composers=search.composers, confidence=search.confidence)


def _style_source(part: IpAdapterPart | None, location: Path | None) -> StyleSource | None:
    if part is None or location is None:
        return None
    return StyleSource(weights=location / part.adapter, image_encoder=location / part.image_encoder)


def _located_lora(lora: LoraPart, location: Path) -> Lora:
    file = location / lora.file if location.is_dir() else location
    return Lora(file=file, scale=lora.scale)
