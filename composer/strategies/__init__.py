"""Catalogue of composers."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from composer import names
from composer.backbone import Backbone
from composer.kit_parts import ComposerFiles
from composer.strategies.basic import BasicComposer, BasicSettings
from composer.strategies.converter import TextConverter
from composer.strategies.duet import DuetComposer, DuetModel
from composer.strategies.freedom import FreedomComposer, FreedomSettings
from composer.strategies.inversion import InversionComposer, InversionSettings
from composer.strategies.modality import ModalityComposer, ModalityModel
from composer.strategies.product import ProductComposer, ProductSettings
from composer.strategies.prompted import PromptedComposer, PromptedModel
from composer.strategies.protocol import Composer, ComposerError
from composer.strategies.sentence import SentenceComposer, SentenceModel
from composer.strategies.slerp import SlerpComposer, SlerpSettings

NOTHING = ComposerFiles()


def _duet(name: str, backbone: Backbone, files: ComposerFiles) -> Composer:
    return DuetComposer.load(_weights(name, files), backbone)


def _modality(name: str, backbone: Backbone, files: ComposerFiles) -> Composer:
    model = ModalityModel.load(_weights(name, files), backbone)
    return ModalityComposer(model, _converter(backbone, files))


def _prompted(name: str, backbone: Backbone, files: ComposerFiles) -> Composer:
    model = PromptedModel.load(_weights(name, files), backbone)
    return PromptedComposer(model, _converter(backbone, files), name)


def _sentence(name: str, backbone: Backbone, files: ComposerFiles) -> Composer:
    return SentenceComposer(SentenceModel.load(_weights(name, files), backbone), name)


def _inversion(_: str, backbone: Backbone, files: ComposerFiles) -> Composer:
    return InversionComposer(backbone, InversionSettings(**files.settings))


def _slerp(_: str, backbone: Backbone, files: ComposerFiles) -> Composer:
    settings = SlerpSettings(**files.settings)
    duet = DuetModel.load(files.weights, backbone) if files.weights is not None else None
    return SlerpComposer(backbone, settings, duet=duet, converter=_converter(backbone, files))


def _basic(_: str, backbone: Backbone, files: ComposerFiles) -> Composer:
    settings = BasicSettings(**files.settings)
    return BasicComposer(backbone, settings, converter=_converter(backbone, files))


def _freedom(_: str, backbone: Backbone, files: ComposerFiles) -> Composer:
    settings = FreedomSettings(**files.settings)
    return FreedomComposer(backbone, settings, converter=_converter(backbone, files))


def _product(_: str, backbone: Backbone, files: ComposerFiles) -> Composer:
    settings = ProductSettings(**files.settings)
    return ProductComposer(backbone, settings, converter=_converter(backbone, files))


COMPOSERS: Final[dict[str, Callable[[str, Backbone, ComposerFiles], Composer]]] = {
    names.DUET: _duet,
    names.MODALITY: _modality,
    names.PROMPTED: _prompted,
    names.PROMPTED_CATEGORY: _prompted,
    **dict.fromkeys(names.SENTENCES, _sentence),
    names.INVERSION: _inversion,
    names.SLERP: _slerp,
    names.BASIC: _basic,
    names.FREEDOM: _freedom,
    names.PRODUCT: _product,
}


def load_composer(name: str, backbone: Backbone, files: ComposerFiles = NOTHING) -> Composer:
    """Load a composer by its exact name.

    Args:
        name: A key of `COMPOSERS`.
        backbone: The kit's CLIP.
        files: What the kit has for it.

    Raises:
        ComposerError: There is no composer of that name, it has no weights, or they do not fit.
    """
    if name not in COMPOSERS:
        known = ", ".join(COMPOSERS)
        raise ComposerError(f"There is no composer {name!r}; choose one of: {known}.")
    try:
        return COMPOSERS[name](name, backbone, files)
    except ComposerError:
        raise
    except (TypeError, ValueError) as error:
        raise ComposerError(f"The settings of {name} in the kit are wrong: {error}") from error


def _weights(name: str, files: ComposerFiles) -> Path:
    if files.weights is None:
        raise ComposerError(
            f"The {name} composer needs its trained weights and this kit has none; "
            f"choose {' or '.join(names.TRAINING_FREE)}, or train it: duet train composer {name}."
        )
    return files.weights


def _converter(backbone: Backbone, files: ComposerFiles) -> TextConverter | None:
    return None if files.converter is None else TextConverter.load(files.converter, backbone)
