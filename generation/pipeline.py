"""A kit's pipeline folder, opened, checked and run by diffusers."""

import threading
from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from composer.composed import ComposedQuery
from generation.chunks import Negative
from generation.conditioning import Tokenizer, token_table
from generation.control_networks import DEFAULT_CONTROL, ControlNetworks
from generation.controls import Control, ControlKind, ControlSource
from generation.denoising import Denoising, StepTools, tools_for
from generation.families import DENOISER, PIPELINES, Family
from generation.finish import finishing
from generation.inversion import begin_inverted
from generation.levers import DEFAULT, PLAIN, Levers, without_fixed_weights
from generation.memory_plan import MemoryPlan, Offload, plan_for
from generation.model_files import Models, Pipe, PipelineSource, open_models
from generation.model_folder import PipelineError
from generation.part_checks import check_parts, check_token_tables
from generation.pipes import Pipes, control_call
from generation.placement import Placement
from generation.prompt_states import PromptStates
from generation.request import RequestError, Scheduler
from generation.sketchbook import Sketchbook
from generation.studio_light import StudioLight
from generation.style import StyleAdapter
from generation.weights_hash import WeightsHash

if TYPE_CHECKING:
    from diffusers import ControlNetModel
    from transformers import CLIPTextModel

TEXT_HASH_KEY = "duet_text_hash"
"""Key in the text encoder's config.json that names the CLIP text tower it carries."""


class ImagePipeline:
    """A kit's image models in memory: one set of weights for all pipelines of its family.

    Only one request runs at a time: hold `slot` around `run`. Cost of loading: seconds, most of it
    importing diffusers.
    """

    def __init__(self, models: Models, text_hash: str, placement: Placement) -> None:
        """Take models that fit together; see `from_parts`."""
        self.slot = threading.Lock()
        self.family, self.text_hash = models.family, text_hash
        self._base, self._placement = models.base, placement
        self._controls = ControlNetworks(models.family, models.base, models.control)
        self.loras, self.light, self.sketchbook = models.loras, models.light, models.sketchbook
        self._style_source, self._style = models.style, None
        self._finisher = models.finisher
        self._prompts = PromptStates(models.family, models.base, text_hash, placement)
        self._pipes = Pipes(models.family, models.base, placement)
        self._hashes = WeightsHash(self._denoiser, models.base.vae, models.light, models.finisher)
        self._levers, self._steps = PLAIN, None

    @classmethod
    def load(
        cls,
        source: PipelineSource,
        *,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        levers: Levers = DEFAULT,
        offload: Offload = Offload.AUTO,
    ) -> "ImagePipeline":
        """Open a pipeline's files on disk; nothing is downloaded.

        Raises:
            PipelineError: a file is missing, damaged or no safetensors, the pipeline is of an
                unknown class, or its parts do not fit together.
            MemoryPlanError: the device has too little memory.
        """
        plan = plan_for(source, torch.device(device), dtype, offload)
        models = open_models(source, dtype)
        declared = getattr(models.base.text_encoder.config, TEXT_HASH_KEY, None)
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
        pipeline = cls._of_models(models, text_hash, torch.device(device), plan)
        pipeline.set_levers(levers)
        return pipeline

    @classmethod
    def from_parts(
        cls,
        base: Pipe,
        controlnet: "ControlNetModel | None",
        text_hash: str,
        light: StudioLight | None = None,
        sketchbook: Sketchbook | None = None,
    ) -> "ImagePipeline":
        """Make a pipeline of models that are in memory.

        Raises:
            PipelineError: the parts do not fit together.
        """
        family = Family(type(base).__name__)
        control = None if controlnet is None else Control(model=controlnet)
        models = Models(
            family=family, base=base, control=control, light=light, sketchbook=sketchbook
        )
        return cls._of_models(models, text_hash, base.device)

    @classmethod
    def _of_models(
        cls, models: Models, text_hash: str, device: torch.device, plan: MemoryPlan | None = None
    ) -> "ImagePipeline":
        check_parts(models)
        control = None if models.control is None else models.control.model
        for module in (*models.base.components.values(), control, models.finisher):
            if isinstance(module, torch.nn.Module):
                module.requires_grad_(False).eval()
        models.base.set_progress_bar_config(disable=True)
        return cls(models, text_hash, Placement(models, device, plan))

    @property
    def levers(self) -> Levers:
        """How images are drawn faster than by a plain call."""
        return self._levers

    def set_levers(self, levers: Levers, tools: StepTools | None = None) -> None:
        """Draw with other levers from here on; the caller holds `slot` where others may draw.

        Args:
            levers: which are on.
            tools: how steps are recorded and blocks compiled; None for those of the device.

        Raises:
            PipelineError: one does not fit the models.
        """
        if not self._placement.is_fixed:
            levers = without_fixed_weights(levers)
        if self._steps is not None:
            self._steps.remove()
        self._steps, self._levers = None, PLAIN
        self._prompts.forget()
        is_last = levers.channels_last
        layout = torch.channels_last if is_last else torch.contiguous_format
        finishers = () if self._finisher is None else (self._finisher,)
        for model in (*self._step_models, *finishers, self._base.vae):
            torch.nn.Module.to(model, memory_format=layout)
        if levers != PLAIN:
            tools = tools or tools_for(self._placement.device)
            self._steps = Denoising(self._denoiser, self._step_models[1:], levers, tools)
        self._levers = levers

    def warm_up(self) -> None:
        """Compile for the sizes that were drawn, if the levers say so; others may draw meanwhile.

        Cost: up to minutes for the first size.
        """
        if self._steps is not None and self._steps.regions is not None:
            self._steps.regions.warm_up()

    @property
    def waits_for_compiler(self) -> bool:
        """Whether `warm_up` would compile something."""
        regions = None if self._steps is None else self._steps.regions
        return regions is not None and bool(regions.waiting)

    @property
    def planned_bytes(self) -> int | None:
        """Computed peak of memory for one image of the native size; None where none was needed."""
        return self._placement.planned_bytes

    def free_memory(self) -> None:
        """Drop what only makes the next image faster; the caller holds `slot`."""
        if self._steps is not None:
            self._steps.drop_recordings()

    @property
    def _step_models(self) -> tuple[Any, ...]:
        return (self._denoiser, *self._controls.step_models)

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences about what is approximate in this pipeline or cannot be used, for the user."""
        return (*self._prompts.notes, *self.problems)

    @property
    def problems(self) -> tuple[str, ...]:
        """Sentences about levers that this machine cannot use."""
        return () if self._steps is None else self._steps.problems

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
        """Whether the kit's default control network was loaded."""
        return DEFAULT_CONTROL in self._controls

    @property
    def has_style(self) -> bool:
        """Whether a picture can steer the style."""
        return self._style_source is not None

    def style_adapter(self) -> StyleAdapter:
        """Return the IP-Adapter, opened once; the caller holds `slot`.

        Raises:
            RequestError: the kit has none, or the memory plan loads layer by layer.
            StyleError: it does not fit the UNet.
            PipelineError: its image encoder is damaged.
        """
        if self._style_source is None:
            raise RequestError("This kit has no IP-Adapter. Leave out the style image.")
        if self._placement.loads_layers:
            raise RequestError(
                "A style image needs the denoiser in one piece, and the memory plan loads it layer "
                "by layer. Choose another plan, or leave out the style image."
            )
        if self._style is None:
            self._style = StyleAdapter(self._base, self._style_source, self._placement.device)
        return self._style

    @property
    def controls_transfers(self) -> bool:
        """Whether a control network can run while an image is redrawn."""
        return (True, True) in PIPELINES[self.family]

    def control_kind(self, name: str = DEFAULT_CONTROL) -> ControlKind | None:
        """Return what a control network follows; None where it was not loaded."""
        return self._controls.kind(name)

    def add_control(self, name: str, source: ControlSource) -> None:
        """Load a further control network, once; a union network serves several names.

        Raises:
            PipelineError: a file is missing, damaged or not safetensors, or the network does not
                fit the pipeline.
        """
        with self.slot:
            if name in self._controls:
                return
            self._controls.add(name, source, self._denoiser.dtype, self._take_over)
            if not self._placement.is_fixed:
                _ = self.hash_with(name)  # while they are all in one place

    def _take_over(self, control: Control) -> None:
        """Place a control network that was opened, and have it run with the levers."""
        if self._levers.channels_last:
            torch.nn.Module.to(control.model, memory_format=torch.channels_last)
        self._placement.place(control.model)
        if self._steps is not None and not control.is_adapter:
            self._steps.add(control.model)

    @property
    def size_multiple_px(self) -> int:
        """What height and width must be multiples of."""
        patch = int(getattr(self._denoiser.config, "patch_size", None) or 1)
        return max(8, int(self._base.vae_scale_factor) * patch)

    @property
    def native_size_px(self) -> int:
        """Side of the images that the model was trained on."""
        return int(self._denoiser.config.sample_size) * int(self._base.vae_scale_factor)

    @property
    def device_name(self) -> str:
        """Device, dtype and inexact levers; with the request they decide the bytes of an image."""
        dtype = str(self._denoiser.dtype).removeprefix("torch.")
        return "/".join((self._placement.device.type, dtype, *self._levers.inexact_names))

    @property
    def weights_hash(self) -> str:
        """16 hex digits over the weights of denoiser, autoencoder and default control network."""
        return self.hash_with(DEFAULT_CONTROL)

    def hash_with(self, control_name: str, *, finishes: bool = False) -> str:
        """16 hex digits over the weights of denoiser, autoencoder and a control network.

        Args:
            control_name: name of the control network.
            finishes: whether those of the finisher count as well.
        """
        control = self._controls.model(control_name)
        return self._hashes.with_control(control_name, control, finishes=finishes)

    @property
    def _denoiser(self) -> Any:  # noqa: ANN401  a model of diffusers
        return getattr(self._base, DENOISER[self.family])

    def condition(self, query: ComposedQuery, negative: Negative) -> Mapping[str, Tensor]:
        """Return what the denoiser is conditioned on, as arguments of a call for one image.

        Args:
            query: a composed query that `check_query` accepts.
            negative: what to stay away from, accepted as well if it is composed; empty is nothing.
        """
        return self._prompts.arguments(query, negative, reuse=self._levers.reuse_text)

    def second_vectors(self, vectors: Float[Tensor, "n w"]) -> Float[Tensor, "n u"] | None:
        """Return token embeddings in the second CLIP's space; None where there is no second."""
        return self._prompts.second_vectors(vectors)

    def check_query(self, query: ComposedQuery) -> None:
        """Check that a composed query was made for this text encoder.

        Raises:
            RequestError: width, length or text tower differ.
            MissingTokensError: the query has no tokens to draw with.
        """
        self._prompts.check(query)

    def check_token_table(self, table: Float[Tensor, "v w"]) -> None:
        """Check that a CLIP backbone's token table is this text encoder's, but for rounding.

        Raises:
            PipelineError: vocabulary or width differ, or the rows of more than a few words do.
        """
        check_token_tables(token_table(self.text_encoder), table)

    def run(
        self,
        *,
        scheduler: Scheduler,
        control_name: str | None,
        use_image: bool,
        inverts: bool = False,
        finish_noise: float = 0.0,
        style_scale: float = 0.0,
        **call: Any,  # noqa: ANN401  whatever the pipeline takes
    ) -> list[Image.Image]:
        """Run one of the pipelines of the family; the caller holds `slot`.

        Args:
            scheduler: the sampler; each run gets a fresh one.
            control_name: name of the control network that runs; None for none.
            use_image: image-to-image.
            inverts: begin with the noise that the image itself comes from, not with random noise.
            finish_noise: share of noise from which the finisher draws the rest; 0 for none.
            style_scale: strength of the style whose features are in the call; 0 where none are.
            **call: arguments of the diffusers call; the control image is `control_image`.

        Returns:
            PIL images, RGB.

        Raises:
            RequestError: the kit has no such control network, or none that can redraw an image, or
                no finisher; or the scheduler is of another family, or cannot be inverted.
        """
        assert self.slot.locked(), "hold the slot while running"
        control = None if control_name is None else self._controls.require(control_name)
        if (control is not None, use_image) not in PIPELINES[self.family]:
            raise RequestError(
                "This kit's control network cannot follow a drawing while an image is redrawn. "
                "Set `controlnet_conditioning_scale` to 0."
            )
        if finish_noise and self._finisher is None:
            raise RequestError("This kit has no finisher. Set `finish_noise` to 0.")
        added: AbstractContextManager[None] = nullcontext()
        if control is not None and control.is_adapter:
            added = self._controls.adding(control, call, self._denoiser, use_image=use_image)
        elif control is not None:
            call = control_call(self.family, control, call, use_image=use_image)
        pipe = self._pipes.get(control, use_image=use_image)
        if not self._placement.is_fixed:
            name = control_name or DEFAULT_CONTROL
            _ = self.hash_with(name, finishes=finish_noise > 0)  # while all are in one place
        self._placement.prepare(pipe)
        pipe.scheduler = self._pipes.fresh_scheduler(scheduler)
        if inverts:
            begin_inverted(pipe, self._denoiser, call, self._paused)
        if self._steps is not None:
            self._steps.start()
        finished = nullcontext()
        if finish_noise:
            is_guided = float(call["guidance_scale"]) > 1
            finished = self._finished(pipe, finish_noise, is_guided=is_guided)
        samples_control = control is not None and self.family is Family.SD3
        styled = self._styled(style_scale) if style_scale else nullcontext()
        seeded = self._seeded(call) if samples_control else nullcontext()
        # Weights that are moved in inference mode could not be moved again.
        mode = torch.inference_mode() if self._placement.is_fixed else torch.no_grad()
        with styled, mode, seeded, added, finished:
            return pipe(output_type="pil", **call).images

    @contextmanager
    def _finished(
        self, pipe: Pipe, noise: float, *, is_guided: bool
    ) -> Generator[None, None, None]:
        """Have a run finished by the kit's finisher."""
        assert self._finisher is not None
        resolve = dict if self._steps is None else self._steps.resolve
        with (
            self._placement.at_work(self._finisher),
            finishing(
                self._finisher,
                self._denoiser,
                pipe.scheduler,
                noise=noise,
                is_guided=is_guided,
                resolve=resolve,
            ),
        ):
            yield

    def _paused(self) -> AbstractContextManager[None]:
        """Run the models without the levers of speed."""
        return nullcontext() if self._steps is None else self._steps.paused()

    @contextmanager
    def _styled(self, scale: float) -> Generator[None, None, None]:
        """Adapt the UNet for a run; the levers of speed know nothing of an adapter and pause."""
        with self._paused(), self.style_adapter().active(scale):
            yield

    @contextmanager
    def _seeded(self, call: Mapping[str, Any]) -> Generator[None, None, None]:
        """Seed the global generators, which a control image's latent is drawn from, for a run."""
        device = self._placement.device
        devices = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(call["generator"][0].initial_seed())
            yield
