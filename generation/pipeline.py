"""A kit's pipeline folder, opened, checked and run by diffusers."""

import hashlib
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from composer.composed import ComposedQuery
from generation.conditioning import Tokenizer, token_table
from generation.request import RequestError, Scheduler

if TYPE_CHECKING:
    from diffusers import ControlNetModel, SchedulerMixin, StableDiffusionPipeline
    from transformers import CLIPTextModel

Pipe = Any
"""Any of the four diffusers pipelines; their calls differ and are not typed."""

PICKLE_SUFFIXES = frozenset({".bin", ".ckpt", ".pt", ".pth", ".pkl", ".pickle"})
TEXT_HASH_KEY = "duet_text_hash"
"""Key in the text encoder's config.json that names the CLIP text tower it carries."""


class PipelineError(ValueError):
    """A pipeline folder that cannot be used; the message says why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PipelineSource:
    """Folders of a kit's image models.

    Attributes:
        folder: diffusers folder of a Stable Diffusion pipeline.
        controlnet: diffusers folder of its control network, or None.
        text_hash: hash of the CLIP text tower the pipeline belongs to; None reads it from the
            text encoder's config.
    """

    folder: Path
    controlnet: Path | None = None
    text_hash: str | None = None


class ImagePipeline:
    """A kit's image models in memory: one set of weights for all four diffusers pipelines.

    Only one request runs at a time: hold `slot` around `run`. Cost of loading: seconds, most of it
    importing diffusers.
    """

    def __init__(
        self,
        base: "StableDiffusionPipeline",
        controlnet: "ControlNetModel | None",
        text_hash: str,
    ) -> None:
        self.slot = threading.Lock()
        self.text_hash = text_hash
        self._controlnet = controlnet
        self._base = base
        self._scheduler_config = dict(base.scheduler.config)
        self._scheduler_class = type(base.scheduler)
        self._pipes: dict[str, Any] = {}
        self._hash: str | None = None

    @classmethod
    def load(
        cls, source: PipelineSource, *, device: str = "cpu", dtype: torch.dtype = torch.float32
    ) -> "ImagePipeline":
        """Open a pipeline folder on disk; nothing is downloaded.

        Raises:
            PipelineError: the folder is missing, holds pickles, is of another class, or its parts
                do not fit together.
        """
        _check_folder(source.folder)
        if source.controlnet is not None:
            _check_folder(source.controlnet)
        base = _open_base(source.folder, dtype).to(device)
        control = None
        if source.controlnet is not None:
            control = _open_controlnet(source.controlnet, dtype)
            torch.nn.Module.to(control, device)
        declared = getattr(base.text_encoder.config, TEXT_HASH_KEY, None)
        text_hash = source.text_hash or declared
        if text_hash is None:
            raise PipelineError(
                f"The pipeline in {source.folder.name} does not say which CLIP text tower it "
                "carries. Name its hash in the kit."
            )
        if declared is not None and declared != text_hash:
            raise PipelineError(
                f"The pipeline in {source.folder.name} carries text tower {declared}, the kit's "
                f"CLIP has {text_hash}. Both must be trained together."
            )
        return cls.from_parts(base, control, text_hash)

    @classmethod
    def from_parts(
        cls,
        base: "StableDiffusionPipeline",
        controlnet: "ControlNetModel | None",
        text_hash: str,
    ) -> "ImagePipeline":
        """Make a pipeline of models that are in memory.

        Raises:
            PipelineError: the parts do not fit together.
        """
        _check_parts(base, controlnet)
        for module in (base.unet, base.vae, base.text_encoder, controlnet):
            if module is not None:
                module.requires_grad_(False).eval()
        base.set_progress_bar_config(disable=True)
        return cls(base, controlnet, text_hash)

    @property
    def text_encoder(self) -> "CLIPTextModel":
        """The CLIP text model, frozen."""
        return self._base.text_encoder

    @property
    def tokenizer(self) -> Tokenizer:
        """The text model's tokenizer."""
        return self._base.tokenizer

    @property
    def has_control(self) -> bool:
        """Whether a control network was loaded."""
        return self._controlnet is not None

    @property
    def native_size_px(self) -> int:
        """Side of the images the UNet was trained on."""
        return int(self._base.unet.config.sample_size) * int(self._base.vae_scale_factor)

    @property
    def device_name(self) -> str:
        """Device and dtype; with the request they decide the bytes of an image."""
        return f"{self._base.device.type}/{str(self._base.unet.dtype).removeprefix('torch.')}"

    @property
    def weights_hash(self) -> str:
        """16 hex digits over the weights of UNet, autoencoder and control network."""
        if self._hash is None:
            digest = hashlib.sha256()
            for module in (self._base.unet, self._base.vae, self._controlnet):
                for name, tensor in module.state_dict().items() if module is not None else ():
                    digest.update(name.encode())
                    digest.update(_as_bytes(tensor))
            self._hash = digest.hexdigest()[:16]
        return self._hash

    def check_query(self, query: ComposedQuery) -> None:
        """Check that a composed query was made for this text encoder.

        Raises:
            RequestError: width, length or text tower differ.
            MissingTokensError: the query has no tokens to draw with.
        """
        table = token_table(self.text_encoder)
        prompt = query.require_tokens()
        length, width = prompt.shape
        context = int(self.text_encoder.config.max_position_embeddings)
        if width != table.shape[1]:
            raise RequestError(
                f"`token_width` must equal the text encoder's width ({table.shape[1]}), got "
                f"{width}. Compose the query with this kit."
            )
        if length != context:
            raise RequestError(
                f"A prompt must be {context} tokens long, got {length}. "
                "Compose the query with this kit."
            )
        if query.text_hash != self.text_hash:
            raise RequestError(
                f"The query was composed for text tower {query.text_hash}, this pipeline carries "
                f"{self.text_hash}. Compose the query with this kit."
            )
        if not bool(torch.isfinite(prompt).all()):
            raise RequestError("The composed query holds values that are not finite.")

    def check_token_table(self, table: Float[Tensor, "v w"], tolerance: float = 1e-3) -> None:
        """Check that a CLIP backbone's token table is this text encoder's.

        Raises:
            PipelineError: vocabulary, width or values differ.
        """
        encoder_table = token_table(self.text_encoder)
        if encoder_table.shape != table.shape:
            raise PipelineError(
                f"The pipeline's token table is {tuple(encoder_table.shape)}, the CLIP's "
                f"{tuple(table.shape)}. A kit needs one text encoder."
            )
        difference = float((encoder_table.float().cpu() - table.float().cpu()).detach().abs().max())
        if difference > tolerance:
            raise PipelineError(
                f"The pipeline's token table differs from the CLIP's by {difference:.3g}. "
                "A kit needs one text encoder."
            )

    def run(
        self, *, scheduler: Scheduler, use_control: bool, use_image: bool, **call: object
    ) -> list[Image.Image]:
        """Run one of the four pipelines; the caller holds `slot`.

        Args:
            scheduler: the sampler; each run gets a fresh one.
            use_control: with the control network.
            use_image: image-to-image.
            **call: arguments of the diffusers call.

        Returns:
            PIL images, RGB.

        Raises:
            RequestError: `use_control` is set and the kit has no control network.
        """
        assert self.slot.locked(), "hold the slot while running"
        if use_control and not self.has_control:
            raise RequestError(
                "This kit has no control network. Set `controlnet_conditioning_scale` to 0."
            )
        pipe = self._pipe(use_control, use_image)
        pipe.scheduler = self._fresh_scheduler(scheduler)
        with torch.inference_mode():
            return pipe(output_type="pil", **call).images

    def _pipe(self, use_control: bool, use_image: bool) -> Pipe:
        import diffusers

        name = {
            (False, False): "StableDiffusionPipeline",
            (False, True): "StableDiffusionImg2ImgPipeline",
            (True, False): "StableDiffusionControlNetPipeline",
            (True, True): "StableDiffusionControlNetImg2ImgPipeline",
        }[use_control, use_image]
        if name not in self._pipes:
            extra = {"controlnet": self._controlnet} if use_control else {}
            pipe = getattr(diffusers, name)(
                **{part: getattr(self._base, part) for part in _PARTS},
                safety_checker=None,
                feature_extractor=None,
                requires_safety_checker=False,
                **extra,
            )
            pipe.set_progress_bar_config(disable=True)
            self._pipes[name] = pipe
        return self._pipes[name]

    def _fresh_scheduler(self, scheduler: Scheduler) -> "SchedulerMixin":
        from diffusers import DPMSolverMultistepScheduler, UniPCMultistepScheduler

        match scheduler:
            case Scheduler.KIT:
                kind: Any = self._scheduler_class
            case Scheduler.DPM:
                kind = DPMSolverMultistepScheduler
            case Scheduler.UNIPC:
                kind = UniPCMultistepScheduler
        return kind.from_config(self._scheduler_config)


_PARTS = ("vae", "text_encoder", "tokenizer", "unet", "scheduler")


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise PipelineError(f"There is no model folder {folder}.")
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in PICKLE_SUFFIXES:
            raise PipelineError(
                f"{path.name} is not safetensors, and other weight files can run code when "
                "opened. Convert it, or remove it from the folder."
            )
    if not any(folder.rglob("*.safetensors")):
        raise PipelineError(f"There are no .safetensors weights in {folder}.")


def _open_base(folder: Path, dtype: torch.dtype) -> "StableDiffusionPipeline":
    import json

    from diffusers import StableDiffusionPipeline
    from diffusers.utils import logging as diffusers_log
    from transformers.utils import logging as transformers_log

    # A load takes seconds: progress bars would only clutter the terminal.
    diffusers_log.disable_progress_bar()
    transformers_log.disable_progress_bar()
    index = folder / "model_index.json"
    if not index.is_file():
        raise PipelineError(f"{folder} is no diffusers folder: it has no model_index.json.")
    name = json.loads(index.read_text()).get("_class_name")
    if name != "StableDiffusionPipeline":
        raise PipelineError(f"The pipeline must be a StableDiffusionPipeline, got {name}.")
    try:
        return StableDiffusionPipeline.from_pretrained(
            folder,
            dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
            safety_checker=None,
            feature_extractor=None,
            image_encoder=None,
            requires_safety_checker=False,
        )
    except (OSError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise PipelineError(f"The pipeline in {folder} cannot be opened: {error}") from error


def _open_controlnet(folder: Path, dtype: torch.dtype) -> "ControlNetModel":
    from diffusers import ControlNetModel

    try:
        return ControlNetModel.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, local_files_only=True
        )
    except (OSError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise PipelineError(f"The control network in {folder} cannot be opened: {error}") from error


def _check_parts(base: "StableDiffusionPipeline", controlnet: "ControlNetModel | None") -> None:
    width = int(base.text_encoder.config.hidden_size)
    checked: Any = (("UNet", base.unet), ("control network", controlnet))
    for name, module in checked:
        if module is not None and module.config.cross_attention_dim != width:
            raise PipelineError(
                f"The {name} expects text of width {module.config.cross_attention_dim}, the text "
                f"encoder gives {width}."
            )
    for name, module in (("UNet", base.unet), ("autoencoder", base.vae)):
        for key, tensor in module.state_dict().items():
            if not bool(torch.isfinite(tensor).all()):
                raise PipelineError(f"The {name}'s weights are damaged: {key} is not finite.")


def _as_bytes(tensor: Tensor) -> bytes:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().tobytes()
