"""Default values of drawing, in a module that costs nothing to import."""

from dataclasses import dataclass

NUM_INFERENCE_STEPS = 20
GUIDANCE_SCALE = 3.0
CONTROLNET_CONDITIONING_SCALE = 1.0
STRENGTH = 0.8
"""Share of the way to noise that a transfer takes its source."""
IP_ADAPTER_SCALE = 0.6
"""Strength of a style image beside the words."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DrawingDefaults:
    """What a kit's pipeline is asked for unless a request says otherwise."""

    num_inference_steps: int = NUM_INFERENCE_STEPS
    guidance_scale: float = GUIDANCE_SCALE
    controlnet_conditioning_scale: float = CONTROLNET_CONDITIONING_SCALE
    strength: float = STRENGTH
