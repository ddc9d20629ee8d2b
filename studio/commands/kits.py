"""`duet kits`."""

from studio.commands.options import KitsOptions
from studio.commands.shared import print_json, print_line
from studio.kits import Kit, embedded_kits, load_kit


def run(options: KitsOptions) -> int:
    """List the kits and their abilities."""
    kits = [load_kit(name) for name in embedded_kits()]
    if options.json:
        print_json({"kits": [_as_json(kit) for kit in kits]})
        return 0
    for kit in kits:
        draws = "searches and draws" if kit.pipeline else "searches"
        print_line(f"{kit.name}: {draws}; composers {', '.join(kit.composers)}. {kit.knows}")
        print_line(f"  {kit.licence}")
    return 0


def _as_json(kit: Kit) -> dict[str, object]:
    return {
        "name": kit.name,
        "folder": str(kit.folder),
        "composers": sorted(kit.composers),
        "draws": kit.pipeline is not None,
        "has_control": kit.controlnet is not None,
        "licence": kit.licence,
        "knows": kit.knows,
    }
