"""World of several data sets to train on: photos and drawings of them."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int, UInt8

from composer.data import archives
from composer.data.augment import draw_augmented, turn_raster
from composer.data.catalogue import PHOTO, CataloguePack
from composer.data.encoder_sets import Part, chair_part
from composer.data.instances import InstanceDataset
from composer.data.pictures import fit_square
from composer.data.qmul import chairv2_parts, open_chairv2
from composer.data.sketchy import open_sketchy, split_heldout
from composer.sketch import Sketch, rasterise

NUM_VALIDATION_CLASSES = 8
# Share of the classes of a batch that each table gives, at instance and at category level.
SHARES: Mapping[str, float] = {"catalogue": 0.5, "sketchy": 0.35, "chairv2": 0.15}
CATEGORY_SHARES: Mapping[str, float] = {"catalogue": 0.2, "sketchy": 0.8, "chairv2": 0.0}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PairTable:
    """Photos and drawings of one data set at one size.

    Attributes:
        name: Of the data set.
        photos: RGB pictures.
        photo_classes: What each shows, in words ("armchair").
        photo_instances: Name of the instance it shows; unique across data sets.
        drawings: Strokes, or rasters of the photos' size.
        drawing_classes: What each shows.
        drawing_instances: The instance it shows; empty where no photo of it is known.
    """

    name: str
    photos: UInt8[np.ndarray, "n s s 3"]
    photo_classes: tuple[str, ...]
    photo_instances: tuple[str, ...]
    drawings: tuple[Sketch, ...]
    drawing_classes: tuple[str, ...]
    drawing_instances: tuple[str, ...]


def catalogue_table(pack: CataloguePack, split: str, size_px: int) -> PairTable:
    """Return the photos and sketches of a split; a design is an instance, a kind a class."""
    rows = pack.rows(split=split, domain=PHOTO)
    items = [pack.items[row] for row in rows]
    sketches = [sketch for sketch in pack.sketches if sketch.split == split]
    return PairTable(
        name="catalogue",
        photos=pack.pixels(rows, size_px),
        photo_classes=tuple(item.kind for item in items),
        photo_instances=tuple(f"catalogue/{item.design}" for item in items),
        drawings=tuple(sketch.sketch for sketch in sketches),
        drawing_classes=tuple(sketch.kind for sketch in sketches),
        drawing_instances=tuple(f"catalogue/{sketch.design}" for sketch in sketches),
    )


def dataset_table(
    name: str, dataset: InstanceDataset, size_px: int, class_name: str = ""
) -> PairTable:
    """Decode a data set; drawings without strokes are framed at `size_px`.

    Args:
        name: Of the table.
        dataset: What to read.
        size_px: Side of the pictures.
        class_name: The class of every picture, for data sets without classes.

    Raises:
        DatasetError: A file is damaged.
    """

    def class_words(folder: str) -> str:
        return class_name or words_of_class(folder)

    photographed = {(p.class_name, p.instance) for p in dataset.photos}
    return PairTable(
        name=name,
        photos=np.stack([fit_square(dataset.image(p), size_px) for p in dataset.photos]),
        photo_classes=tuple(class_words(p.class_name) for p in dataset.photos),
        photo_instances=tuple(_instance(name, p.class_name, p.instance) for p in dataset.photos),
        drawings=tuple(_framed(dataset.sketch(d), size_px) for d in dataset.drawings),
        drawing_classes=tuple(class_words(d.class_name) for d in dataset.drawings),
        drawing_instances=tuple(
            _instance(name, d.class_name, d.instance)
            if (d.class_name, d.instance) in photographed
            else ""
            for d in dataset.drawings
        ),
    )


def words_of_class(name: str) -> str:
    """Return a folder name as words: "car_(sedan)" is "car"."""
    return name.partition("_(")[0].replace("_", " ").strip().lower()


@dataclass(frozen=True, kw_only=True, slots=True)
class NaturalParts:
    """Training and validation parts of the natural archives.

    Attributes:
        train: What is trained on.
        validation: Classes of Sketchy that no training sees.
        chairs: Chairs of ChairV2 that no training sees; their photos first, then those of the
            others, which they are looked for among.
    """

    train: tuple[PairTable, ...]
    validation: tuple[PairTable, ...]
    chairs: PairTable | None = None


def natural_tables(folder: Path, size_px: int) -> NaturalParts:
    """Read Sketchy's and ChairV2's training parts; what `heldout` names is left out.

    Of Sketchy's training classes eight, chosen by the hash of their names, are for validation, and
    so are the chairs that the encoder is validated on.

    Raises:
        DatasetError: An archive is missing or has another layout.
    """
    sketchy = open_sketchy(folder / archives.SKETCHY)
    names = split_heldout(sketchy).train
    validation = validation_classes(names)
    chairs = chairv2_parts(open_chairv2(folder / archives.CHAIRV2)).train
    taught = chairs.where(lambda item: chair_part(item.instance) is Part.TRAIN)
    unseen = chairs.where(lambda item: chair_part(item.instance) is Part.VALIDATION)
    asked = replace(unseen, photos=unseen.photos + taught.photos)
    learnt = sketchy.select(classes=[name for name in names if name not in validation])
    held = sketchy.select(classes=validation)
    return NaturalParts(
        train=(
            dataset_table("sketchy", learnt, size_px),
            dataset_table("chairv2", taught, size_px, "chair"),
        ),
        validation=(dataset_table("sketchy", held, size_px),),
        chairs=dataset_table("chairv2", asked, size_px, "chair"),
    )


def validation_classes(names: Sequence[str]) -> tuple[str, ...]:
    """Return the classes that trainings are validated on, the same on every machine."""

    def digest(name: str) -> str:
        return hashlib.sha256(f"validation/{name}".encode()).hexdigest()

    return tuple(sorted(sorted(names, key=digest)[:NUM_VALIDATION_CLASSES]))


class World:
    """Several tables with common numbers for classes and instances."""

    def __init__(self, tables: Sequence[PairTable]) -> None:
        """Number classes and instances.

        Raises:
            ValueError: The pictures differ in size, or a class is drawn but never photographed.
        """
        if len({table.photos.shape[1:] for table in tables}) != 1:
            raise ValueError("All pictures of a world must have one size.")
        self.photos = np.concatenate([table.photos for table in tables])
        self.drawings = tuple(drawing for table in tables for drawing in table.drawings)
        photographed = _joined(tables, lambda table: table.photo_classes)
        drawn = _joined(tables, lambda table: table.drawing_classes)
        if strange := sorted(set(drawn) - set(photographed)):
            raise ValueError(f"There is no photo of a class that is drawn: {strange[0]}.")
        self.classes = tuple(sorted(set(photographed)))
        photo_instances = _joined(tables, lambda table: table.photo_instances)
        self.photo_classes = _numbers(photographed, self.classes)
        self.drawing_classes = _numbers(drawn, self.classes)
        instances = tuple(sorted(set(photo_instances)))
        self.photo_instances = _numbers(photo_instances, instances)
        paired = _joined(tables, lambda table: table.drawing_instances)
        self.drawing_instances = _numbers(paired, instances)
        self.tables = tuple(name for table in tables for name in [table.name] * len(table.drawings))

    def ink(self, drawing: int, rng: np.random.Generator | None) -> UInt8[np.ndarray, "s s"]:
        """Return a drawing on white at the photos' size: augmented, or as it is without `rng`."""
        sketch, size_px = self.drawings[drawing], self.photos.shape[1]
        if sketch.raster is not None:
            return sketch.raster if rng is None else turn_raster(sketch.raster, rng)
        if rng is None:
            return rasterise(sketch, size_px)
        return draw_augmented(sketch, size_px, rng)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PairBatch:
    """n drawings, each with a photo.

    Attributes:
        drawings: RGB pictures of drawings.
        classes: Number of each one's class.
        instances: Number of the drawn instance; -1 where no photo of it is known.
        positives: Row of a photo of that instance, or of its class where there is none.
    """

    drawings: UInt8[np.ndarray, "n s s 3"]
    classes: Int[np.ndarray, " n"]
    instances: Int[np.ndarray, " n"]
    positives: Int[np.ndarray, " n"]

    @property
    def is_paired(self) -> Bool[np.ndarray, " n"]:
        """Whether a photo of the same instance is known."""
        return self.instances >= 0


class PairBatches:
    """Draws P classes and K drawings of each; every draw is a function of seed and number."""

    def __init__(
        self,
        world: World,
        *,
        num_classes: int = 12,
        per_class: int = 4,
        shares: Mapping[str, float] = SHARES,
        seed: int = 0,
    ) -> None:
        """Take the world, P and K, and the share of each of its tables."""
        self._world, self._seed = world, seed
        self.num_classes, self.per_class = num_classes, per_class
        tables = np.array(world.tables)
        self._names = sorted(set(world.tables))
        chosen = np.array([shares[name] for name in self._names])
        self._shares = chosen / chosen.sum()
        self._members = {
            name: {
                int(c): np.flatnonzero((tables == name) & (world.drawing_classes == c))
                for c in np.unique(world.drawing_classes[tables == name])
            }
            for name in self._names
        }

    def draw(self, number: int) -> PairBatch:
        """Return the batch of a number: P x K drawings, grouped by class."""
        rng = np.random.default_rng([self._seed, number])
        rows: list[int] = []
        for name, count in zip(
            self._names, rng.multinomial(self.num_classes, self._shares), strict=True
        ):
            members = self._members[name]
            # A table with fewer classes repeats some.
            classes = rng.choice(list(members), count, replace=count > len(members))
            for class_number in classes:
                rows_of_class = members[int(class_number)]
                is_short = len(rows_of_class) < self.per_class
                rows += rng.choice(rows_of_class, self.per_class, replace=is_short).tolist()
        world, picked = self._world, np.array(rows)
        ink = np.stack([world.ink(row, rng) for row in rows])
        return PairBatch(
            drawings=np.repeat(ink[..., None], 3, axis=-1),
            classes=world.drawing_classes[picked],
            instances=world.drawing_instances[picked],
            positives=np.array([self._positive(row, rng) for row in rows]),
        )

    def _positive(self, drawing: int, rng: np.random.Generator) -> int:
        world = self._world
        instance = world.drawing_instances[drawing]
        rows = (
            np.flatnonzero(world.photo_instances == instance)
            if instance >= 0
            else np.flatnonzero(world.photo_classes == world.drawing_classes[drawing])
        )
        return int(rng.choice(rows))


def _framed(sketch: Sketch, size_px: int) -> Sketch:
    return sketch if sketch.strokes is not None else Sketch(raster=rasterise(sketch, size_px))


def _instance(table: str, class_name: str, instance: str) -> str:
    return f"{table}/{class_name}/{instance}"


def _joined(tables: Sequence[PairTable], get: Callable[[PairTable], tuple[str, ...]]) -> list[str]:
    return [value for table in tables for value in get(table)]


def _numbers(names: Sequence[str], known: Sequence[str]) -> Int[np.ndarray, " n"]:
    """Return the index of each name in `known`; -1 where it is missing."""
    number_of = {name: number for number, name in enumerate(known)}
    return np.array([number_of.get(name, -1) for name in names], dtype=np.int64)
