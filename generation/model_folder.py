"""One model of diffusers or transformers, opened from its folder.

Safetensors only, whole, and complete for the model: both libraries fill weights that a file lacks
with random ones and print a warning; here that is an error.
"""

import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch

from composer.random_weights import make_random
from composer.weights import WeightsError, check_safetensors_header
from generation.configs import read_config

_PICKLE_SUFFIXES = frozenset({".bin", ".ckpt", ".pt", ".pth", ".pkl", ".pickle"})
DIFFUSERS_STEM, TRANSFORMERS_STEM = "diffusion_pytorch_model", "model"
_VARIANTS = (None, "fp16")


class PipelineError(ValueError):
    """A pipeline folder that cannot be used; the message says why."""


def check_folder(folder: Path) -> None:
    """Check that a model's folder is there.

    Raises:
        PipelineError: it is not.
    """
    if not folder.is_dir():
        raise PipelineError(f"There is no model folder {folder}.")


def read_model_config(folder: Path) -> Mapping[str, Any]:
    """Read a model's config.json.

    Raises:
        PipelineError: it is missing or damaged.
    """
    file = folder / "config.json"
    if not file.is_file():
        raise PipelineError(f"The model in {folder} has no config.json.")
    try:
        return read_config(file)
    except ValueError as error:
        raise PipelineError(str(error)) from error


def open_model(kind: Any, folder: Path, stem: str, dtype: torch.dtype) -> Any:  # noqa: ANN401
    """Open one model; every weight of it must be in the file, and nothing else.

    Raises:
        PipelineError: weights are missing, damaged, not safetensors, or do not fill the model.
    """
    variant, files = _find_weights(folder, stem)
    for file in files:
        check_weights(file)
    with translate_opening(f"The model in {folder}"):
        model, report = kind.from_pretrained(
            folder,
            variant=variant,
            dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
    _check_complete(folder.name, report)
    return model


def _find_weights(folder: Path, stem: str) -> tuple[str | None, list[Path]]:
    """Return the variant that a folder has, and its files."""
    for variant in _VARIANTS:
        name = re.escape(stem if variant is None else f"{stem}.{variant}")
        pattern = re.compile(rf"{name}(-\d+-of-\d+)?\.safetensors")
        files = sorted(path for path in folder.iterdir() if pattern.fullmatch(path.name))
        if files:
            return variant, files
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in _PICKLE_SUFFIXES:
            raise PipelineError(
                f"{path.name} is not safetensors, and other weight files can run code when "
                "opened. Convert it, or look for a repository that has it."
            )
    raise PipelineError(f"There are no .safetensors weights in {folder}.")


def check_weights(file: Path) -> None:
    """Check that a file of weights is whole safetensors, by its header.

    Raises:
        PipelineError: it is not.
    """
    try:
        check_safetensors_header(file)
    except WeightsError as error:
        raise PipelineError(f"The weights in {file.parent} cannot be used: {error}") from error


def _check_complete(name: str, report: Mapping[str, Any]) -> None:
    """Check what a library reports of a load.

    Raises:
        PipelineError: weights would be random, or are of another model.
    """
    for key, problem in (
        ("missing_keys", "lack {}, which would be random"),
        ("mismatched_keys", "have another shape than the model's {}"),
        ("unexpected_keys", "hold {}, which the model does not have"),
    ):
        if keys := list(report.get(key) or ()):
            first = keys[0] if isinstance(keys[0], str) else keys[0][0]
            raise PipelineError(
                f"The weights of {name} do not fit its config.json: they {problem.format(first)}."
            )


def make_random_model(kind: Any, folder: Path, dtype: torch.dtype) -> Any:  # noqa: ANN401
    """Make the model of a folder's config with random weights."""
    with translate_opening(f"The model in {folder}"):
        return make_random(partial(build_model, kind, folder), dtype)


def build_model(kind: Any, folder: Path) -> Any:  # noqa: ANN401
    """Construct a model of diffusers or transformers from its config, without its weights."""
    if hasattr(kind, "load_config"):
        return kind.from_config(kind.load_config(folder, local_files_only=True))
    return kind(kind.config_class.from_pretrained(folder, local_files_only=True))


@contextmanager
def translate_opening(what: str) -> Generator[None, None, None]:
    """Turn what the libraries raise while something is opened into one sentence.

    Raises:
        PipelineError: anything was raised.
    """
    try:
        yield
    except Exception as error:  # of each library its own, down to one of its settings
        raise PipelineError(f"{what} cannot be opened: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0][:200] if lines else type(error).__name__
