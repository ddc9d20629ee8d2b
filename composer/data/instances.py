"""Value types shared by the readers of data sets: photos and drawings of them."""

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from composer.data.tree import DatasetError, Tree, summarise
from composer.images import open_drawing, open_image
from composer.sketch import Sketch, Stroke

STROKE_BOX = 256.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Photo:
    """A picture of the gallery.

    Attributes:
        path: Its file, below the root of the data set's tree.
        class_name: What it shows, spelled as in the data set.
        instance: Its name within the class; drawings of it carry the same.
        domain: "photo", or the medium.
    """

    path: PurePosixPath
    class_name: str
    instance: str
    domain: str = "photo"


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawing:
    """A drawing by hand.

    Attributes:
        path: Its file, below the root of the data set's tree.
        class_name: What it shows, spelled as in the data set.
        instance: The photo it was drawn from; empty where there is none.
        number: Which of the drawings of that photo it is.
    """

    path: PurePosixPath
    class_name: str
    instance: str
    number: int


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class InstanceDataset:
    """Photos and drawings of a data set; files are decoded on demand."""

    name: str
    tree: Tree
    photos: tuple[Photo, ...]
    drawings: tuple[Drawing, ...]

    def __post_init__(self) -> None:
        """Check that the data set is not empty.

        Raises:
            DatasetError: There is neither a photo nor a drawing.
        """
        if not self.photos and not self.drawings:
            raise DatasetError(f"{self.name} has neither photos nor drawings in {self.tree.name}.")

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of all photos and drawings, sorted."""
        return tuple(sorted({item.class_name for item in (*self.photos, *self.drawings)}))

    def image(self, photo: Photo) -> Image.Image:
        """Decode a photo to RGB.

        Raises:
            DatasetError: The file is missing, damaged or no picture.
        """
        data = self.tree.read(photo.path)
        try:
            return open_image(data)
        except ValueError as error:
            raise self._unreadable(photo.path, error) from error

    def sketch(self, drawing: Drawing) -> Sketch:
        """Decode a drawing: strokes where the file is JSON, else a raster.

        Raises:
            DatasetError: The file is missing, damaged or holds no drawing.
        """
        data = self.tree.read(drawing.path)
        try:
            if drawing.path.suffix == ".json":
                return sketch_from_pen_json(data)
            return Sketch.from_image(open_drawing(data))
        except ValueError as error:
            raise self._unreadable(drawing.path, error) from error

    def select(
        self,
        *,
        classes: Collection[str] | None = None,
        instance: Callable[[str], bool] | None = None,
    ) -> "InstanceDataset":
        """Return the part of some classes, of the instances a predicate accepts, or of both.

        The predicate also gets the empty name of unpaired drawings.

        Raises:
            DatasetError: A class is not in the data set, or nothing is left.
        """
        if classes is not None and (unknown := set(classes) - set(self.classes)):
            raise DatasetError(
                f"{self.name} has no class {summarise(unknown)} in {self.tree.name}."
            )

        def is_kept(item: Photo | Drawing) -> bool:
            return (classes is None or item.class_name in classes) and (
                instance is None or instance(item.instance)
            )

        return self.where(is_kept)

    def where(self, is_kept: Callable[[Photo | Drawing], bool]) -> "InstanceDataset":
        """Return the part of the photos and drawings a predicate accepts.

        Raises:
            DatasetError: Nothing is left.
        """
        return replace(
            self,
            photos=tuple(photo for photo in self.photos if is_kept(photo)),
            drawings=tuple(drawing for drawing in self.drawings if is_kept(drawing)),
        )

    def _unreadable(self, path: PurePosixPath, error: ValueError) -> DatasetError:
        return DatasetError(f"{path} of {self.name} cannot be used. {error} Get the file again.")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Parts:
    """A data set in two: what may be trained on, and what is kept for measuring."""

    train: InstanceDataset
    held_out: InstanceDataset


def split_parts(dataset: InstanceDataset, is_held_out: Callable[[Photo | Drawing], bool]) -> Parts:
    """Divide a data set by a predicate.

    Raises:
        DatasetError: One of the two parts is empty.
    """
    return Parts(
        train=dataset.where(lambda item: not is_held_out(item)),
        held_out=dataset.where(is_held_out),
    )


def sketch_from_pen_json(data: bytes) -> Sketch:
    """Read a drawing from pen movements: `{"points_xy_penup": [[x, y, pen_up], ...], "size": 256}`.

    x and y lie between 0 and `size` (256 by default), y downwards; a `pen_up` of 1 ends
    a stroke at its point, 0 goes on.

    Raises:
        ValueError: It is no such JSON, has no points, or a point leaves the box.
    """
    try:
        value: dict[str, Any] = json.loads(data)
        box = float(value.get("size", STROKE_BOX))
        points = np.asarray(value["points_xy_penup"], dtype=np.float32)
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise ValueError("The drawing must be JSON with the list `points_xy_penup`.") from error
    if points.ndim != 2 or points.shape[1] != 3 or not box > 0:
        raise ValueError("`points_xy_penup` must be rows of x, y and pen_up in a box of a size.")
    return Sketch.from_strokes(_strokes(points, box))


def _strokes(points: np.ndarray, box: float) -> list[Stroke]:
    ends = np.flatnonzero(points[:, 2] != 0) + 1
    return [part[:, :2] / np.float32(box) for part in np.split(points, ends) if len(part)]
