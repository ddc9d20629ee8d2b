"""Scenes as files: pictures, their texts, and a drawing of each main object alone."""

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from assets.catalogue import arrangement_words, record, work
from assets.catalogue.arrangement import Group, Scene, groups
from assets.catalogue.casting import Thing
from assets.catalogue.kinds import KINDS
from assets.catalogue.placement import arrange, combined, worn
from assets.catalogue.plan import Design, Split, skill_of
from assets.catalogue.render import prepare, render

QUALITY = 92
SPLITS = {
    "test": (Split.TEST, Split.UNSEEN),
    "validation": (Split.VALIDATION,),
    "train": (Split.TRAIN,),
}
SCENES = pa.schema(
    [
        ("id", pa.string()),
        ("path", pa.string()),
        ("group", pa.string()),
        ("member", pa.string()),
        ("split", pa.string()),
        ("design", pa.string()),
        ("kind", pa.string()),
        ("skill", pa.int32()),
        ("relation", pa.string()),
        ("neighbour", pa.string()),
        ("kinds", pa.list_(pa.string())),
        ("num_objects", pa.int32()),
        ("words", pa.string()),
        ("caption", pa.string()),
    ]
)
TABLES = (("scenes", SCENES), ("sketches", record.SKETCHES))


@dataclass(frozen=True, kw_only=True, slots=True)
class SceneOptions:
    """Where scenes go, their quality, and how many are made.

    Attributes:
        out: Folder of the pictures and tables.
        work: Folder of what is finished, for resuming after a stop.
        split: "test" (with scenes of unseen kinds), "validation" or "train".
        size_px: Side of the pictures.
        spp: Samples a pixel.
        num_workers: Processes.
        limit: Number of groups, or None for all.
    """

    out: Path
    work: Path
    split: str = "test"
    size_px: int = 256
    spp: int = 16
    num_workers: int = 2
    limit: int | None = None


def scenes(options: SceneOptions) -> None:
    """Make the scenes of a split, or what is missing of them.

    Raises:
        ValueError: If the options make no sense.
        OSError: If a folder cannot be written.
    """
    if options.split not in SPLITS:
        raise ValueError(f"`split` must be one of {', '.join(SPLITS)}, got {options.split!r}.")
    folder = options.work / options.split
    leads = [group.lead for s in SPLITS[options.split] for group in groups(s)][: options.limit]
    (options.out / "images").mkdir(parents=True, exist_ok=True)
    maker = SceneMaker(out=options.out, size_px=options.size_px, spp=options.spp)
    work.run(work.Job(task=maker, is_done=maker.is_done, folder=folder), leads, options.num_workers)
    names = [lead.id for lead in leads]
    record.join_tables(TABLES, names, folder, options.out)


@dataclass(frozen=True, kw_only=True, slots=True)
class SceneMaker:
    """Makes the pictures and rows of the group that a design leads."""

    out: Path
    size_px: int
    spp: int

    def is_done(self, lead: Design, folder: Path) -> bool:
        """Return whether the pictures and rows of a group are there."""
        tables = all(record.part_file(folder, lead.id, name).exists() for name, _ in TABLES)
        return tables and all((self.out / path_of(s)).exists() for s in _group(lead).scenes)

    def __call__(self, lead: Design, folder: Path) -> int:
        """Make one group; return its number of pictures."""
        group = _group(lead)
        for scene in group.scenes:
            self._photograph(scene)
        mains = {s.things[0].design.id: s.things[0].design for s in group.scenes}
        rows = {
            "scenes": [row_of(scene, lead) for scene in group.scenes],
            "sketches": [_sketch(main) for main in mains.values()],
        }
        for name, schema in TABLES:
            record.write_table(rows[name], schema, record.part_file(folder, lead.id, name))
        return len(group.scenes)

    def _photograph(self, scene: Scene) -> None:
        standing = arrange(scene)
        prepared, colourway = combined(standing), worn(scene.things, standing)
        picture = render(prepared, colourway, scene.view, self.size_px, self.spp)
        record.write_webp(picture.image, QUALITY, self.out / path_of(scene))


def path_of(scene: Scene) -> str:
    """Return the picture's path below the folder."""
    return f"images/{scene.id}.webp"


def row_of(scene: Scene, lead: Design) -> record.Row:
    """Return all that the table says of a scene."""
    main, neighbour, *others = scene.things
    relation_words = arrangement_words.relation_phrase(scene.relation.value, _phrase(neighbour))
    bystanders = [thing.design.kind for thing in others]
    return {
        "id": scene.id,
        "path": path_of(scene),
        "group": lead.id,
        "member": scene.member,
        "split": lead.split.value,
        "design": main.design.id,
        "kind": main.design.kind,
        "skill": skill_of(main.design),
        "relation": scene.relation.value,
        "neighbour": neighbour.design.id,
        "kinds": [thing.design.kind for thing in scene.things],
        "num_objects": len(scene.things),
        "words": relation_words,
        "caption": arrangement_words.scene_caption(_phrase(main), relation_words, bystanders),
    }


def _phrase(thing: Thing) -> str:
    return arrangement_words.thing_phrase(thing.design.kind, thing.finish)


def _sketch(design: Design) -> record.Row:
    kind = KINDS[design.kind]
    return record.sketch_row(kind, design, prepare(kind.build(design.shape)), skill_of(design))


def _group(lead: Design) -> Group:
    return next(group for group in groups(lead.split) if group.lead.id == lead.id)
