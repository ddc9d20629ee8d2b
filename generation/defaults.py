"""Default values of drawing, in a module that costs nothing to import."""

NUM_INFERENCE_STEPS = 20
GUIDANCE_SCALE = 3.0
CONTROLNET_CONDITIONING_SCALE = 1.0
STRENGTH = 0.8
"""Share of the way to noise that a transfer takes its source."""
