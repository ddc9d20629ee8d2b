"""Reading of `kit.toml` files."""

import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Final

from composer.kit_parts import ComposerFiles
from generation.controls import ControlKind
from generation.defaults import DrawingDefaults
from studio.kit_contents import (
    KIT_FILE,
    ControlPart,
    HubSource,
    IpAdapterPart,
    KitError,
    KitFile,
    KitPart,
    LoraPart,
    SearchPart,
)


def assets_folder() -> Path:
    """Return the folder of the shipped assets."""
    return Path(str(resources.files("assets")))


def embedded_kits() -> dict[str, Path]:
    """Return the kits that ship with the program, by name."""
    files = sorted((assets_folder() / "models").glob(f"*/{KIT_FILE}"))
    return {file.parent.name: file.parent for file in files}


def read_kit_file(name: str) -> KitFile:
    """Read a `kit.toml` by the kit's name, or by the path of its folder.

    Raises:
        KitError: There is no such kit, or its `kit.toml` is damaged.
    """
    folder = embedded_kits().get(name) or Path(name)
    if not (folder / KIT_FILE).is_file():
        known = ", ".join(embedded_kits()) or "none yet"
        raise KitError(
            f"There is no kit {name!r}. Choose one of: {known}; or give the folder of a {KIT_FILE}."
        )
    try:
        fields, folders = _read_fields(folder, ())
        return _kit_file(folders, fields)
    except KitError:
        raise
    except RecursionError as error:
        raise KitError(f"{folder / KIT_FILE} is nested too deep. Reinstall the kit.") from error
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise KitError(f"{folder / KIT_FILE} is damaged: {error}. Reinstall the kit.") from error


_PATHS = frozenset({"path", "weights", "confidence", "checkpoint", "judge", "feature_judge"})
_LOCATIONS = ("path", "repository")
_COMPOSER_FILES = ("weights", "confidence")
_MEGABYTE: Final = 1_000_000
_SETTINGS_MB: Final = 4


def _read_fields(
    folder: Path, children: tuple[Path, ...]
) -> tuple[dict[str, Any], tuple[Path, ...]]:
    """Read a `kit.toml` and the kits that it is based on; paths become absolute.

    Returns:
        Its fields, and the folders of all these kits, its own first.
    """
    if folder in children:
        raise KitError(f"{folder / KIT_FILE} is based on itself; correct its `base`.")
    fields = tomllib.loads((folder / KIT_FILE).read_text(encoding="utf-8"))
    fields = {key: _resolve_paths(folder, key, value) for key, value in fields.items()}
    if (fast := fields.get("fast")) and fast not in embedded_kits():
        fields["fast"] = str(folder / Path(fast).expanduser())
    base = fields.pop("base", None)
    if base is None:
        return fields, (*children, folder)
    parent = embedded_kits().get(base) or folder / Path(base).expanduser()
    if not (parent / KIT_FILE).is_file():
        raise KitError(f"{folder / KIT_FILE} is based on {base!r}, which is no kit.")
    inherited, folders = _read_fields(parent, (*children, folder))
    return _merge(inherited, fields), folders


def _resolve_paths(folder: Path, key: str, value: Any) -> Any:  # noqa: ANN401  any TOML value
    if isinstance(value, dict):
        # A pipeline's control network may be a path instead of a table.
        paths = _PATHS | ({"controlnet"} if key == "pipeline" else set())
        return {
            name: str(folder / Path(one).expanduser())
            if name in paths and isinstance(one, str)
            else _resolve_paths(folder, name, one)
            for name, one in value.items()
        }
    return value


def _merge(base: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """Lay tables over those of a base; naming another location drops what described the old one."""
    merged = dict(base)
    for key, value in fields.items():
        old = merged.get(key)
        if (
            not isinstance(value, dict)
            or not isinstance(old, dict)
            or any(location in value for location in _LOCATIONS)
        ):
            merged[key] = value
        else:
            merged[key] = _merge(old, value)
    return merged


def _kit_file(folders: tuple[Path, ...], fields: Mapping[str, Any]) -> KitFile:
    pipeline = fields.get("pipeline", {})
    controlnet = fields.get("controlnet", {})
    if "controlnet" in pipeline:
        controlnet = {"path": pipeline["controlnet"]}
    converter = Path(fields["converter"]["weights"]) if "converter" in fields else None
    composers = fields.get("composers", {})
    return KitFile(
        name=str(fields["name"]),
        folder=folders[0],
        folders=folders,
        clip=_part(fields["backbone"]),
        pipeline=_pipeline_part(pipeline) if pipeline else None,
        checkpoint=Path(pipeline["checkpoint"]) if "checkpoint" in pipeline else None,
        controlnet=_part(controlnet) if controlnet else None,
        loras={name: _lora(entry) for name, entry in fields.get("loras", {}).items()},
        drawing=DrawingDefaults(**fields.get("drawing", {})),
        scheduler=dict(fields.get("scheduler", {})),
        speed=dict(fields.get("speed", {})),
        composers={name: _composer(entry, converter) for name, entry in composers.items()},
        without=_names(pipeline.get("without", ())),
        control_kind=ControlKind(controlnet.get("kind", ControlKind.SCRIBBLE)),
        controls=_controls(fields.get("controls", {}), controlnet),
        ip_adapter=_ip_adapter(fields["ip_adapter"]) if "ip_adapter" in fields else None,
        finish=_lora(fields["finish"]) if "finish" in fields else None,
        confidence=_confidence(composers),
        converter=converter,
        search=_search(fields["search"]) if "search" in fields else None,
        judge=Path(pipeline["judge"]) if "judge" in pipeline else None,
        feature_judge=Path(pipeline["feature_judge"]) if "feature_judge" in pipeline else None,
        licence=str(fields.get("licence", "")),
        knows=str(fields.get("knows", "")),
        domains=tuple(str(name) for name in fields.get("domains", ())),
        fast=str(fields.get("fast", "")),
    )


def _search(entry: Mapping[str, Any]) -> SearchPart:
    composers = entry.get("composers", {})
    return SearchPart(
        tower=_part(entry),
        composers={name: _composer(files, None) for name, files in composers.items()},
        confidence=_confidence(composers),
    )


def _confidence(composers: Mapping[str, Any]) -> dict[str, Path]:
    return {n: Path(entry["confidence"]) for n, entry in composers.items() if "confidence" in entry}


def _part(entry: Mapping[str, Any]) -> KitPart:
    if "path" in entry:
        return KitPart(location=Path(entry["path"]), licence=str(entry.get("licence", "")))
    source = HubSource(
        repository=str(entry["repository"]),
        patterns=tuple(str(pattern) for pattern in entry["files"]),
        revision=str(entry.get("revision", "main")),
    )
    return KitPart(
        location=source,
        licence=str(entry["licence"]),
        size_bytes=int(entry["size_mb"] * _MEGABYTE),
    )


def _pipeline_part(entry: Mapping[str, Any]) -> KitPart:
    """Return the pipeline; beside a checkpoint its weights are not needed."""
    if "checkpoint" not in entry or "path" in entry:
        return _part(entry)
    settings = [pattern for pattern in entry["files"] if not pattern.endswith(".safetensors")]
    return _part({**entry, "files": settings, "size_mb": _SETTINGS_MB})


def _controls(entries: Mapping[str, Any], default: Mapping[str, Any]) -> dict[str, ControlPart]:
    """Return the control networks beside the default one, whose name is taken."""
    controls = {
        str(name): ControlPart(part=_part(entry), kind=ControlKind(entry.get("kind", name)))
        for name, entry in entries.items()
    }
    if default and (taken := default.get("kind", ControlKind.SCRIBBLE)) in controls:
        raise ValueError(f"[controls.{taken}] has the name of the default control network")
    return controls


def _names(value: Any) -> tuple[str, ...]:  # noqa: ANN401  any TOML value
    if isinstance(value, str):
        raise TypeError(f"`without` must be a list of names, got {value!r}")
    return tuple(str(name) for name in value)


def _lora(entry: Mapping[str, Any]) -> LoraPart:
    scale = float(entry.get("scale", 1.0))
    if "path" not in entry:
        (file,) = entry["files"]
        return LoraPart(part=_part(entry), file=str(file), scale=scale)
    path = Path(entry["path"])
    part = KitPart(location=path, licence=str(entry.get("licence", "")))
    return LoraPart(part=part, file=path.name, scale=scale)


def _ip_adapter(entry: Mapping[str, Any]) -> IpAdapterPart:
    if "image_encoder" not in entry:
        raise KitError(
            "An [ip_adapter] reads pictures through the image encoder it was trained with; name "
            'its folder, such as image_encoder = "models/image_encoder".'
        )
    return IpAdapterPart(
        part=_part(entry),
        adapter=str(entry["adapter"]),
        image_encoder=str(entry["image_encoder"]),
    )


def _composer(entry: Mapping[str, Any], converter: Path | None) -> ComposerFiles:
    return ComposerFiles(
        weights=Path(entry["weights"]) if "weights" in entry else None,
        converter=converter,
        settings={name: value for name, value in entry.items() if name not in _COMPOSER_FILES},
    )
