"""Kits: matched sets of a CLIP backbone, composers and a diffusion pipeline, as folders."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from composer.kit_parts import ComposerFiles

KIT_FILE = "kit.toml"
DEFAULT_KIT = "mini"


class KitError(ValueError):
    """A kit that does not exist or cannot be read; the message says what to do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Kit:
    """The content of a `kit.toml`.

    Attributes:
        name: Name of the kit.
        folder: The kit's folder.
        backbone: Folder of the CLIP, or "architecture/tag" of a public one.
        composers: Files and settings of each composer, by name.
        confidence: Calibration of a composer's rankings, by its name, where it was measured.
        converter: Weights that turn joint features into tokens, for composers without tokens.
        pipeline: The diffusers folder, if the kit draws.
        controlnet: The control network's folder, if there is one.
        judge: Classifier of kinds and colours for `duet bench generation`, if there is one.
        licence: One line about the permitted uses of the weights.
        knows: One line about what the kit was trained on, shown on the page.
        domains: Domains that the kit was trained on; empty where any words will do.
    """

    name: str
    folder: Path
    backbone: Path | str
    composers: Mapping[str, ComposerFiles]
    confidence: Mapping[str, Path] = field(default_factory=dict[str, Path])
    converter: Path | None = None
    pipeline: Path | None = None
    controlnet: Path | None = None
    judge: Path | None = None
    licence: str = ""
    knows: str = ""
    domains: tuple[str, ...] = ()


def assets_folder() -> Path:
    """Return the folder of the shipped assets."""
    return Path(str(resources.files("assets")))


def embedded_kits() -> dict[str, Path]:
    """Return the kits that ship with the program, by name."""
    files = sorted((assets_folder() / "models").glob(f"*/{KIT_FILE}"))
    return {file.parent.name: file.parent for file in files}


def load_kit(name: str = DEFAULT_KIT) -> Kit:
    """Read a kit by name, or by the path of its folder.

    Raises:
        KitError: There is no such kit, or its `kit.toml` is damaged or names missing files.
    """
    folder = embedded_kits().get(name) or Path(name)
    if not (folder / KIT_FILE).is_file():
        known = ", ".join(embedded_kits()) or "none yet"
        raise KitError(
            f"There is no kit {name!r}. Choose one of: {known}; or give the folder of a {KIT_FILE}."
        )
    try:
        fields = tomllib.loads((folder / KIT_FILE).read_text(encoding="utf-8"))
        kit = _kit(folder, fields)
    except (tomllib.TOMLDecodeError, KeyError, TypeError, AttributeError, OSError) as error:
        raise KitError(f"{folder / KIT_FILE} is damaged: {error}. Reinstall the kit.") from error
    _check_files(kit)
    return kit


def _kit(folder: Path, fields: Mapping[str, Any]) -> Kit:
    backbone, drawing = fields["backbone"], fields.get("pipeline", {})
    converter = folder / fields["converter"]["weights"] if "converter" in fields else None
    composers = {
        name: _composer(folder, entry, converter)
        for name, entry in fields.get("composers", {}).items()
    }
    return Kit(
        name=str(fields["name"]),
        folder=folder,
        backbone=folder / backbone["path"] if "path" in backbone else str(backbone["public"]),
        composers=composers,
        confidence={
            name: folder / entry["confidence"]
            for name, entry in fields.get("composers", {}).items()
            if "confidence" in entry
        },
        converter=converter,
        pipeline=folder / drawing["path"] if "path" in drawing else None,
        controlnet=folder / drawing["controlnet"] if "controlnet" in drawing else None,
        judge=folder / drawing["judge"] if "judge" in drawing else None,
        licence=str(fields.get("licence", "")),
        knows=str(fields.get("knows", "")),
        domains=tuple(str(name) for name in fields.get("domains", ())),
    )


_FILES = ("weights", "confidence")


def _composer(folder: Path, entry: Mapping[str, Any], converter: Path | None) -> ComposerFiles:
    return ComposerFiles(
        weights=folder / entry["weights"] if "weights" in entry else None,
        converter=converter,
        settings={name: value for name, value in entry.items() if name not in _FILES},
    )


def _check_files(kit: Kit) -> None:
    weights = [files.weights for files in kit.composers.values()]
    named = [kit.backbone, kit.pipeline, kit.controlnet, kit.judge, kit.converter]
    named += [*weights, *kit.confidence.values()]
    for path in named:
        if isinstance(path, Path) and not path.exists():
            raise KitError(
                f"The kit {kit.name!r} lacks {path}. Reinstall it, or correct {KIT_FILE}."
            )
