"""The pipeline of a kit, loaded at first use to draw."""

from dataclasses import dataclass, replace
from pathlib import Path
from threading import RLock, Thread

import torch

from generation.levers import FAST, Levers, for_device, read_levers
from generation.lora import LoraSource
from generation.memory_plan import Offload
from generation.model_files import PipelineSource, check_loras
from generation.model_folder import PipelineError
from generation.pipeline import ImagePipeline
from studio.kits import Kit
from studio.tower import Tower


@dataclass(frozen=True, kw_only=True, slots=True)
class DrawingMode:
    """How images are drawn, as opposed to what they show.

    Attributes:
        is_fast: With all levers that keep the image but for rounding.
        compiles: On CUDA, with compiled blocks too, for sizes that were drawn before; a thread
            compiles.
        offload: What leaves the card while it is not at work.
    """

    is_fast: bool = False
    compiles: bool = False
    offload: Offload = Offload.AUTO


DEFAULT_MODE = DrawingMode()


@dataclass(frozen=True, kw_only=True, slots=True)
class DrawingOptions:
    """What a kit draws with besides its own files.

    Attributes:
        device: As torch names it.
        dtype: Precision of the weights.
        has_random_weights: Whether the models of the kit's configs get random weights.
        loras: LoRAs besides the kit's own.
        mode: How fast images are drawn, and from which memory.
    """

    device: str = "cpu"
    dtype: torch.dtype = torch.float32
    has_random_weights: bool = False
    loras: tuple[LoraSource, ...] = ()
    mode: DrawingMode = DEFAULT_MODE


class Drawing:
    """The pipeline of a kit, loaded at first use; all methods are thread-safe."""

    def __init__(self, kit: Kit, tower: Tower, options: DrawingOptions) -> None:
        """Store what to load, and check the LoRAs; nothing is loaded yet.

        Args:
            kit: The files of its parts.
            tower: The CLIP that composes queries for the pipeline.
            options: What to draw with.

        Raises:
            PipelineError: There are LoRAs, and the kit draws nothing.
            LoraError: A LoRA is for another model, by its header.
        """
        self._kit, self._tower, self._options = kit, tower, options
        self._lock = RLock()
        self._pipeline: ImagePipeline | None = None
        self._compiling: Thread | None = None
        if options.loras:
            check_loras(options.loras, self._folder)

    @property
    def _folder(self) -> Path:
        if self._kit.pipeline is None:
            raise PipelineError(
                f"The kit {self._kit.name!r} has no pipeline, so it searches but does not draw. "
                "Choose a kit with a pipeline."
            )
        return self._kit.pipeline

    @property
    def pipeline(self) -> ImagePipeline:
        """The pipeline, checked against the CLIP's token table.

        Raises:
            PipelineError: The kit has none, or it does not belong to the CLIP.
        """
        folder = self._folder
        with self._lock:
            if self._pipeline is None:
                pipeline = ImagePipeline.load(
                    self._source(folder),
                    device=self._options.device,
                    dtype=self._options.dtype,
                    levers=self._levers(),
                    offload=self._options.mode.offload,
                )
                pipeline.check_token_table(self._tower.backbone.token_table())
                self._pipeline = pipeline
            return self._pipeline

    def _source(self, folder: Path) -> PipelineSource:
        kit, backbone = self._kit, self._tower.backbone
        own = [LoraSource(file=lora.file, scale=lora.scale) for lora in kit.loras]
        finish = None
        if kit.finish is not None and kit.drawing.finish_noise > 0:
            finish = LoraSource(file=kit.finish.file, scale=kit.finish.scale)
        return PipelineSource(
            folder=folder,
            controlnet=kit.controlnet,
            control_kind=kit.control_kind,
            text_hash=backbone.text_hash,
            checkpoint=kit.checkpoint,
            loras=(*own, *self._options.loras),
            finish=finish,
            style=kit.ip_adapter,
            scheduler=kit.scheduler,
            further_controls=kit.control_folders,
            random_around=backbone.token_table() if self._options.has_random_weights else None,
            without=kit.without,
        )

    def _levers(self) -> Levers:
        """Return the kit's levers, with all that keep the image if it is to be fast."""
        levers, mode = read_levers(self._kit.speed), self._options.mode
        if not mode.is_fast:
            return levers
        fast = replace(FAST, compiled=mode.compiles, cache_interval=levers.cache_interval)
        return for_device(fast, torch.device(self._options.device).type)

    def compile_later(self) -> None:
        """Compile for sizes that were just drawn for the first time, in one thread at a time."""
        pipeline = self.pipeline
        with self._lock:
            is_busy = self._compiling is not None and self._compiling.is_alive()
            if is_busy or not pipeline.waits_for_compiler:
                return
            self._compiling = Thread(target=pipeline.warm_up, daemon=True)
            self._compiling.start()
