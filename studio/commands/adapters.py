"""Options that name a file and something about it, such as `--lora FILE:0.8`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from composer.added_words import AddedWord
from composer.files import sha256_of
from composer.images import open_image
from composer.token_file import read_token
from generation.defaults import IP_ADAPTER_SCALE
from generation.lora import LoraSource, MergedLora
from generation.request import StyleImage
from studio.errors import UsageError
from studio.kits import Kit


@dataclass(frozen=True, kw_only=True, slots=True)
class ScaledFile:
    """A file, and the scale that stood behind it; None where there was none."""

    file: Path
    scale: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class NamedFile:
    """A file, and the name that stood behind it; None where there was none."""

    file: Path
    name: str | None


def parse_scaled_file(text: str, option: str) -> ScaledFile:
    """Read `FILE` or `FILE:SCALE`; a colon within a file's path is left alone.

    Raises:
        UsageError: What stands behind the last colon is no number.
    """
    path, _, scale = text.rpartition(":")
    is_path = "/" in scale or "\\" in scale or scale.lower().endswith(".safetensors")
    if not path or is_path or Path(text).exists():
        return ScaledFile(file=Path(text).absolute(), scale=None)
    try:
        return ScaledFile(file=Path(path).absolute(), scale=float(scale))
    except ValueError as error:
        raise UsageError(
            f"{option} {text}: what follows the last colon must be a number, such as "
            f"{Path(path).name}:0.8, got {scale!r}."
        ) from error


def parse_named_file(text: str) -> NamedFile:
    """Read `FILE` or `FILE:NAME`; a colon within a file's path is left alone."""
    path, _, name = text.rpartition(":")
    is_path = "/" in name or "\\" in name or name.lower().endswith(".safetensors")
    if not path or is_path or Path(text).exists():
        return NamedFile(file=Path(text), name=None)
    return NamedFile(file=Path(path), name=name)


def token_files(texts: Sequence[str]) -> tuple[Path, ...]:
    """Return the files that the values of `--token` name."""
    return tuple(parse_named_file(text).file for text in texts)


def read_tokens(texts: Sequence[str]) -> tuple[AddedWord, ...]:
    """Read the files that the values of `--token` name.

    Raises:
        WeightsError: A file cannot be read, or is no textual inversion.
        InputError: A name cannot stand in a text.
    """
    given = [parse_named_file(text) for text in texts]
    return tuple(read_token(each.file, each.name) for each in given)


def style_file(text: str | None) -> Path | None:
    """Return the file that the value of `--style-image` names; None where it was not given.

    Raises:
        UsageError: The scale is no number.
    """
    return None if text is None else parse_scaled_file(text, "--style-image").file


def read_style(text: str | None, kit: Kit) -> StyleImage | None:
    """Read the value of `--style-image`; None where it was not given.

    Raises:
        UsageError: The kit has no IP-Adapter, or the scale is no number.
        ImageError: The picture cannot be read.
        RequestError: The scale is beyond the cap.
    """
    if text is None:
        return None
    if kit.ip_adapter is None:
        raise UsageError(
            f"The kit {kit.name!r} has no IP-Adapter, so it takes no --style-image. Choose "
            "sd15-style or sdxl-style, or add [ip_adapter] to a kit of your own."
        )
    given = parse_scaled_file(text, "--style-image")
    scale = IP_ADAPTER_SCALE if given.scale is None else given.scale
    return StyleImage(image=open_image(given.file), scale=scale)


def parse_loras(texts: Sequence[str]) -> tuple[LoraSource, ...]:
    """Read the values of `--lora`.

    Raises:
        UsageError: A scale is no number.
        LoraError: A scale is beyond what is allowed.
    """
    return tuple(
        LoraSource(file=each.file, scale=1.0 if each.scale is None else each.scale)
        for each in (parse_scaled_file(text, "--lora") for text in texts)
    )


def loras_of_rerun(
    texts: Sequence[str], recorded: Sequence[MergedLora], kit: Kit
) -> tuple[LoraSource, ...]:
    """Find the files of an image's LoRAs among those that were given; the kit has its own.

    Raises:
        UsageError: A file is missing, is another than it was, or has a scale of its own.
    """
    given = [parse_scaled_file(text, "--lora") for text in texts]
    files = {_hash_of(each.file): each.file for each in given}
    own = {(sha256_of(lora.file), lora.scale) for lora in kit.loras} if recorded else set()
    wanted = [lora for lora in recorded if (lora.sha256, lora.scale) not in own]
    for lora in wanted:
        if lora.sha256 not in files:
            raise UsageError(
                f"The image was drawn with the LoRA {lora.name} (SHA-256 {lora.sha256[:10]}...); "
                f"give that very file: --lora {lora.name}."
            )
    for each in given:
        scales = [lora.scale for lora in wanted if files[lora.sha256] == each.file]
        if not scales:
            raise UsageError(f"The image was drawn without {each.file.name}; leave it out.")
        if each.scale is not None and each.scale not in scales:
            raise UsageError(
                f"The image was drawn with {each.file.name} at {scales[0]:g}; give the file "
                "without a scale."
            )
    return tuple(LoraSource(file=files[lora.sha256], scale=lora.scale) for lora in wanted)


def _hash_of(file: Path) -> str:
    try:
        return sha256_of(file)
    except OSError as error:
        raise UsageError(f"{file} cannot be read; check the path.") from error
