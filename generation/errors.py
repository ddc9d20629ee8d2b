"""Errors of this package that the user can correct."""

from generation.cancel import GenerationCancelledError
from generation.judge import JudgeError
from generation.lora_header import LoraError
from generation.masking import MaskError
from generation.memory_plan import MemoryPlanError
from generation.model_folder import PipelineError
from generation.png_text import MetadataError
from generation.request import RequestError
from generation.sample import BusyError, OutOfMemoryError
from generation.style_files import StyleError

GENERATION_ERRORS: tuple[type[Exception], ...] = (
    RequestError,
    MaskError,
    PipelineError,
    LoraError,
    MemoryPlanError,
    StyleError,
    JudgeError,
    MetadataError,
    BusyError,
    OutOfMemoryError,
    GenerationCancelledError,
)
