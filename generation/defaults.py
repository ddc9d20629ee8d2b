"""Default values of drawing, in a module that costs nothing to import."""

from dataclasses import dataclass, replace

NUM_INFERENCE_STEPS = 20
GUIDANCE_SCALE = 3.0
CONTROLNET_CONDITIONING_SCALE = 1.0
STRENGTH = 0.8
"""Share of the way to noise that a transfer takes its source."""
IP_ADAPTER_SCALE = 0.6
"""Strength of a style image beside the words."""
LEAST_PATH_STEPS = 8
"""Usual steps of a model that was not taught to draw in fewer; those of few steps have 1 to 4."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DrawingDefaults:
    """What a kit's pipeline is asked for unless a request says otherwise.

    Attributes:
        num_inference_steps: Steps from noise to an image.
        guidance_scale: Of the words.
        controlnet_conditioning_scale: Of the drawing.
        strength: Share of the way to noise that a transfer takes its source.
        num_transfer_steps: Steps of a transfer, of which it takes the share `strength`; None for
            those of an image. A kit of one step needs more here.
        finish_noise: Share of noise from which the kit's finisher draws the rest of an image in one
            step; 0 leaves all steps to the sampler.
    """

    num_inference_steps: int = NUM_INFERENCE_STEPS
    guidance_scale: float = GUIDANCE_SCALE
    controlnet_conditioning_scale: float = CONTROLNET_CONDITIONING_SCALE
    strength: float = STRENGTH
    num_transfer_steps: int | None = None
    finish_noise: float = 0.0

    @property
    def is_few_step(self) -> bool:
        """Whether the kit's model jumps to the image, rather than following a path to it."""
        return self.num_inference_steps < LEAST_PATH_STEPS

    def for_transfer(self) -> "DrawingDefaults":
        """Return them with the steps of a transfer, all by the sampler.

        What a medium looks like is drawn in the last steps, which a finisher skips.
        """
        num_steps = self.num_transfer_steps or self.num_inference_steps
        return replace(self, num_inference_steps=num_steps, finish_noise=0.0)
