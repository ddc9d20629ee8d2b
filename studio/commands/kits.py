"""`duet kits`: which kits there are, and what is downloaded of them."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from studio.commands.options import KitsOptions
from studio.commands.shared import print_json, print_line
from studio.detectors import DETECTORS, detector_parts, detector_sources
from studio.errors import UsageError
from studio.hub import Hub, HubFile, Snapshot, default_hub, readable
from studio.kit_contents import CONTROL, HubSource, KitFile, KitPart, hub_sources
from studio.kit_file import embedded_kits, read_kit_file


def run(options: KitsOptions) -> int:
    """List the kits, or download or remove one."""
    hub = default_hub()
    match options.action, options.name:
        case None, _:
            _list(options, hub)
        case _, None:
            raise UsageError(f"Name the kit: duet kits {options.action} NAME.")
        case "fetch", name if name == DETECTORS:
            _fetch(detector_parts(), options, hub)
        case "fetch", name:
            file = read_kit_file(name)
            _fetch({**file.parts, **_chosen_controls(file, options.controls)}, options, hub)
        case _, name if name == DETECTORS:
            freed = hub.remove(detector_sources().values())
            print_line(f"{readable(freed)} were freed.")
        case _, name:
            _remove(read_kit_file(name), hub)
    return 0


@dataclass(frozen=True, kw_only=True, slots=True)
class _Part:
    """A part of a kit on the hub, resolved to files."""

    name: str
    licence: str
    source: HubSource
    snapshot: Snapshot
    missing: Sequence[HubFile]


def _list(options: KitsOptions, hub: Hub) -> None:
    files = [read_kit_file(name) for name in embedded_kits()]
    if options.json:
        kits = [_as_json(file, hub) for file in files]
        print_json({"kits": kits, "detectors": _parts_as_json(detector_parts(), hub)})
        return
    for file in files:
        draws = "searches and draws" if file.pipeline else "searches"
        state = "" if _is_present(file, hub) else f" Not downloaded ({_size(file)})."
        composers = ", ".join(file.composers)
        print_line(f"{file.name}: {draws}; composers {composers}. {file.knows}{state}")
        print_line(f"  {file.licence}")
        if file.control_names:
            print_line(f"  Controls: {_controls_line(file, hub)}.")
    parts = detector_parts()
    size = readable(sum(part.size_bytes for part in parts.values()))
    state = "" if all(map(hub.has, hub_sources(parts))) else f" Not downloaded ({size})."
    print_line(f"{DETECTORS}: hed, pidinet, lineart, for --control-from of every kit.{state}")


def _controls_line(file: KitFile, hub: Hub) -> str:
    """Return the kit's control networks, with what is to be fetched for them."""
    absent = {
        name
        for name, control in file.controls.items()
        if isinstance(control.part.location, HubSource) and not hub.has(control.part.location)
    }
    return ", ".join(
        f"{name} (fetched on request, {readable(file.controls[name].part.size_bytes)})"
        if name in absent
        else name
        for name in file.control_names
    )


def _as_json(file: KitFile, hub: Hub) -> dict[str, object]:
    return {
        "name": file.name,
        "folder": str(file.folder),
        "composers": sorted(file.composers),
        "draws": file.pipeline is not None,
        "has_control": file.controlnet is not None,
        "controls": list(file.control_names),
        "licence": file.licence,
        "knows": file.knows,
        "present": _is_present(file, hub),
        "download_bytes": sum(part.size_bytes for part in file.parts.values()),
        "parts": _parts_as_json(file.parts, hub),
        "optional_parts": _parts_as_json(file.optional_parts, hub),
    }


def _parts_as_json(parts: Mapping[str, KitPart], hub: Hub) -> list[dict[str, object]]:
    return [
        {
            "name": name,
            "repository": part.location.repository,
            "licence": part.licence,
            "bytes": part.size_bytes,
            "present": hub.has(part.location),
        }
        for name, part in parts.items()
        if isinstance(part.location, HubSource)
    ]


def _is_present(file: KitFile, hub: Hub) -> bool:
    return all(hub.has(source) for source in file.sources)


def _size(file: KitFile) -> str:
    return readable(sum(part.size_bytes for part in file.parts.values()))


def _fetch(chosen: Mapping[str, KitPart], options: KitsOptions, hub: Hub) -> None:
    parts = [
        _resolve(part_name, part.licence, part.location, hub)
        for part_name, part in chosen.items()
        if isinstance(part.location, HubSource)
    ]
    what = "The detectors are" if options.name == DETECTORS else f"The kit {options.name} is"
    needed = sum(each.size_bytes for part in parts for each in part.missing)
    if not needed:
        for part in parts:  # locks what another program downloaded
            hub.fetch(part.source)
        print_line(f"{what} on this machine.")
        return
    for part in parts:
        size = readable(sum(each.size_bytes for each in part.missing)) if part.missing else "here"
        print_line(f"  {part.name}: {part.source.repository}, {size}. Licence: {part.licence}.")
    if not options.is_confirmed:
        _confirm(f"Download {readable(needed)} under these licences?")
    hub.check_space(tuple(each for part in parts for each in part.missing))
    for part in parts:
        hub.fetch(part.source, report=_report)
    print_line(f"{what} on this machine.")


def _chosen_controls(file: KitFile, names: Sequence[str]) -> dict[str, KitPart]:
    """Return the parts of control networks by name; the default one is fetched anyway."""
    for name in names:
        if name not in file.control_names:
            known = ", ".join(file.control_names) or "none"
            raise UsageError(
                f"The kit {file.name!r} has no control network {name!r}; choose one of: {known}."
            )
    return {
        part_name: part
        for part_name, part in file.optional_parts.items()
        if part_name.removeprefix(CONTROL) in names
    }


def _resolve(name: str, licence: str, source: HubSource, hub: Hub) -> _Part:
    snapshot = hub.resolve(source)
    return _Part(
        name=name,
        licence=licence,
        source=source,
        snapshot=snapshot,
        missing=hub.missing(snapshot),
    )


def _report(file: HubFile) -> None:
    print_line(f"  {file.name} ({readable(file.size_bytes)})")


def _confirm(question: str) -> None:
    """Ask on the terminal.

    Raises:
        UsageError: The answer is no, or there is no terminal to ask on.
    """
    if not sys.stdin.isatty():
        raise UsageError(f"{question} Confirm with --yes.")
    print(f"{question} [y/N] ", end="", flush=True)  # noqa: T201
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise UsageError("Nothing was downloaded.")


def _remove(file: KitFile, hub: Hub) -> None:
    """Delete the downloads of a kit that no other complete kit uses."""
    others = [read_kit_file(name) for name in embedded_kits() if name != file.name]
    used = {
        source.repository: other.name
        for other in others
        if other.sources and _is_present(other, hub)
        for source in _all_sources(other)
    }
    if not file.sources:
        raise UsageError(f"The kit {file.name!r} was not downloaded; there is nothing to remove.")
    freed = hub.remove([each for each in _all_sources(file) if each.repository not in used])
    for repository in dict.fromkeys(source.repository for source in file.sources):
        if repository in used:
            print_line(f"{repository} stays: the kit {used[repository]} uses it.")
    print_line(f"{readable(freed)} were freed.")


def _all_sources(file: KitFile) -> tuple[HubSource, ...]:
    return (*file.sources, *hub_sources(file.optional_parts))
