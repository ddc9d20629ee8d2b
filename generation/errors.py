"""Errors of this package that the user can correct."""

from generation.cancel import GenerationCancelledError
from generation.lora_header import LoraError
from generation.memory_plan import MemoryPlanError
from generation.model_files import PipelineError
from generation.provenance import ProvenanceError
from generation.request import RequestError
from generation.sample import BusyError, OutOfMemoryError

GENERATION_ERRORS: tuple[type[Exception], ...] = (
    RequestError,
    PipelineError,
    LoraError,
    MemoryPlanError,
    ProvenanceError,
    BusyError,
    OutOfMemoryError,
    GenerationCancelledError,
)
