"""Cancellation of a running generation within one denoising step."""

import threading
from collections.abc import Callable
from typing import Any

StepCallback = Callable[[Any, int, Any, dict[str, Any]], dict[str, Any]]
"""Callback of diffusers after a step: pipeline, step, time step, tensors."""

Progress = Callable[[int, int], None]
"""Called after each step with the number of steps done and the number of all steps."""


class GenerationCancelledError(Exception):
    """The user stopped the work; there is no image."""


class CancelToken:
    """A flag that any thread may set; the sampler checks it after each step."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def cancel(self) -> None:
        """Request a stop."""
        self._event.set()

    @property
    def is_cancelled(self) -> bool:
        """Whether a stop was requested."""
        return self._event.is_set()

    def check(self) -> None:
        """Raise if a stop was requested.

        Raises:
            GenerationCancelledError: `cancel` was called.
        """
        if self.is_cancelled:
            raise GenerationCancelledError("The generation was stopped.")


def step_callback(cancel: CancelToken | None, on_step: Progress | None) -> StepCallback:
    """Return the `callback_on_step_end` of a diffusers pipeline.

    It raises rather than set `pipe._interrupt`: that flag only skips the steps that are left and
    still decodes the latents, and it would stay set on a pipeline object shared between requests.
    """

    def callback(
        pipe: object, step: int, _timestep: object, tensors: dict[str, Any]
    ) -> dict[str, Any]:
        if cancel is not None:
            cancel.check()
        if on_step is not None:
            on_step(step + 1, getattr(pipe, "num_timesteps"))  # noqa: B009 - set while it runs
        return tensors

    return callback
