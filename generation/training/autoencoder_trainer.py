"""The loop of the autoencoder: three phases, a critic beside it, a guard against divergence."""

import copy
import math
from dataclasses import dataclass
from enum import StrEnum

import torch
from diffusers import AutoencoderKL
from jaxtyping import Float
from torch import Tensor

from composer.training.descent import Descent, DescentSettings, ParameterGroup
from composer.training.loop import fast_precision, progress_line
from composer.training.schedules import warmup_hold_cosine
from composer.training.state import TrainingState, load_state, save_state
from composer.training.trunk_maps import TrunkMaps
from generation.training.autoencoder_recipe import AutoencoderRecipe, reconstruction_loss
from generation.training.critic import PatchCritic, critic_descent
from generation.training.crops import Crops
from generation.training.loop import Run, step_generator
from generation.training.reconstruction import compare, reconstruction_sheet, restore
from generation.training.stock import decode, encode_mean, move

_DIVERGED = 0.4  # mean absolute error; pictures begin near 0.1
_MOST_RESTARTS = 6
_MOST_SKIPPED = 10  # steps in a row whose gradients are not finite
_CROP_NUMBERS = 3 * 64 * 64
_NUM_SHOWN = 6


class Phase(StrEnum):
    """What a step trains.

    `PLAIN` trains both halves without a critic, `ADVERSARIAL` with one, `DECODER` the decoder
    alone, on the averaged encoder.
    """

    PLAIN = "plain"
    ADVERSARIAL = "adversarial"
    DECODER = "decoder"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class AutoencoderParts:
    """What the loop works with.

    Attributes:
        vae: The autoencoder, trained.
        critic: Its critic, trained beside it.
        features: A frozen judge of likeness.
        crops: Training pictures.
        held_out: Pictures of validation designs that the log tells about.
    """

    vae: AutoencoderKL
    critic: PatchCritic
    features: TrunkMaps
    crops: Crops
    held_out: Float[Tensor, "n 3 h w"]


@dataclass(frozen=True, kw_only=True, slots=True)
class AutoencoderResult:
    """What a run did, over all resumed runs.

    Attributes:
        num_steps: Steps.
        num_skipped: Steps that changed nothing, as their gradients were not finite.
        num_restarts: Returns to the averaged weights after a divergence.
        elapsed_s: Seconds of training.
        last_losses: Loss of each step of this process, oldest first.
    """

    num_steps: int
    num_skipped: int
    num_restarts: int
    elapsed_s: float
    last_losses: tuple[float, ...]


class AutoencoderTrainer:
    """Trains an autoencoder to the end of its budget, resumable."""

    def __init__(
        self, parts: AutoencoderParts, recipe: AutoencoderRecipe, run: Run, seed: int
    ) -> None:
        self.parts, self.recipe, self.run, self.seed = parts, recipe, run, seed
        for module in (parts.vae, parts.critic, parts.features):
            move(module, run.device)
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.descent = _descent(parts, recipe)
        self.critic_descent = critic_descent(parts.critic, recipe.critic_rate)
        self.uses_bf16 = fast_precision(run.device) == "bf16"
        self.num_restarts, self.warm_from, self.rate_share = 0, 0, 1.0
        self.error: float | None = None
        self.num_skipped_in_row = 0
        self.has_fixed_encoder = False
        self.saved_s = self.checked_s = 0.0
        self.started = (0, 0.0)
        self.num_crops = 0.0
        self.losses: list[float] = []

    def train(self) -> AutoencoderResult:
        """Train; the autoencoder then holds the averaged weights."""
        self.resume()
        self.started = (self.descent.num_steps, self.elapsed_s)
        while (progress := self.progress) < 1.0:
            self.step(progress)
            self._keep_records()
        self.save()
        self.descent.restart_from_average()
        self.parts.vae.eval().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        return AutoencoderResult(
            num_steps=self.descent.num_steps,
            num_skipped=self.descent.num_skipped,
            num_restarts=self.num_restarts,
            elapsed_s=self.elapsed_s,
            last_losses=tuple(self.losses),
        )

    @property
    def elapsed_s(self) -> float:
        """Seconds of training so far."""
        return self.descent.watch.elapsed_s

    @property
    def progress(self) -> float:
        """Share of the run that is done."""
        return self.run.budget.progress(self.descent.num_steps, self.elapsed_s)

    def step(self, progress: float) -> None:
        """Train on one batch."""
        phase = phase_of(progress, self.recipe)
        if phase is Phase.DECODER and not self.has_fixed_encoder:
            self._fix_encoder()
        generator = step_generator(self.seed, self.descent.num_steps)
        sizes = self.recipe.decoder_crops if phase is Phase.DECODER else self.recipe.crops
        images = self.parts.crops.draw(sizes, generator)
        images = images.to(self.run.device).contiguous(memory_format=torch.channels_last)
        restored, latents = self._restore(images, generator)
        loss = reconstruction_loss(restored, images, latents, self.recipe)
        likeness = self.parts.features(restored, images)
        total = loss.total + self.recipe.feature_weight * likeness
        if self._has_diverged(float(loss.parts["level"].detach())):
            self._return_to_average()
            return
        weight = critic_weight(progress, self.recipe)
        if weight > 0:
            total = total + weight * self.parts.critic.push(restored)
        rate, num_skipped = self._rate(progress), self.descent.num_skipped
        self.descent.step(total, rate)
        is_skipped = self.descent.num_skipped > num_skipped
        self.num_skipped_in_row = self.num_skipped_in_row + 1 if is_skipped else 0
        lesson = images.new_zeros(())
        if progress >= self.recipe.critic_from:
            lesson = self.parts.critic.lesson(images, restored)
            self.critic_descent.step(lesson, rate)
        self.num_crops += images.numel() / _CROP_NUMBERS
        self.losses.append(float(total.detach()))
        if self.descent.num_steps % self.recipe.optimisation.log_every == 0:
            parts = {**loss.parts, "feature": likeness, "critic": lesson}
            self.run.log(self._line({name: float(part.detach()) for name, part in parts.items()}))

    def _restore(self, images: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Encode crops, add noise to their latents and decode them."""
        vae = self.parts.vae
        with torch.autocast(self.run.device.type, torch.bfloat16, enabled=self.uses_bf16):
            with torch.set_grad_enabled(not self.has_fixed_encoder):
                latents = encode_mean(vae, images)
            noise = torch.randn(latents.shape, generator=generator).to(latents)
            restored = decode(vae, latents + self.recipe.noise * noise)
        return restored.float(), latents.float()

    def _rate(self, progress: float) -> float:
        optimisation = self.recipe.optimisation
        return self.rate_share * warmup_hold_cosine(
            self.descent.num_steps - self.warm_from,
            progress,
            num_warmup_steps=optimisation.num_warmup_steps,
            decay_share=optimisation.decay_share,
        )

    def _fix_encoder(self) -> None:
        self.run.log(f"the encoder is finished at step {self.descent.num_steps}")
        self._restart()
        self._freeze()

    def _freeze(self) -> None:
        self.has_fixed_encoder = True
        for module in (self.parts.vae.encoder, self.parts.vae.quant_conv):
            assert module is not None
            module.requires_grad_(False)

    def _restart(self) -> None:
        self.descent.restart_from_average()
        self.warm_from = self.descent.num_steps
        self.error, self.num_skipped_in_row = None, 0

    def _has_diverged(self, level: float) -> bool:
        if math.isfinite(level):
            self.error = level if self.error is None else self.error + 0.1 * (level - self.error)
        return (self.error or 0.0) > _DIVERGED or self.num_skipped_in_row >= _MOST_SKIPPED

    def _return_to_average(self) -> None:
        """Go on from the averaged weights at half the rate, in place of a step.

        Raises:
            FloatingPointError: That has been in vain before.
        """
        num_steps = self.descent.num_steps
        if self.num_restarts == _MOST_RESTARTS:
            raise FloatingPointError(
                f"The autoencoder diverged again at step {num_steps}, at a rate halved "
                f"{_MOST_RESTARTS} times. Start afresh with a lower rate."
            )
        self.run.log(f"step {num_steps} diverged; the averaged weights go on at half the rate")
        self._restart()
        self.num_restarts += 1
        self.rate_share /= 2

    def _line(self, parts: dict[str, float]) -> str:
        text = " ".join(f"{name} {value:.4f}" for name, value in parts.items())
        spent_s = max(self.elapsed_s - self.started[1], 1e-9)
        rate = f"{self.num_crops / spent_s:.1f} crops of 64 px/s"
        skipped = f"skipped {self.descent.num_skipped} restarts {self.num_restarts}"
        budget, steps = self.run.budget, self.descent.num_steps
        phase = phase_of(self.progress, self.recipe)
        return progress_line(
            "autoencoder", steps, budget, self.elapsed_s, f"{phase} {text} {rate} {skipped}"
        )

    def _keep_records(self) -> None:
        if self.elapsed_s - self.saved_s >= self.recipe.optimisation.save_every_s:
            self.save()
        if self.elapsed_s - self.checked_s >= self.recipe.check_every_s:
            self.check()

    def check(self) -> None:
        """Log how well the averaged weights bring held-out pictures back, and show it."""
        average = self.descent.average
        assert average is not None
        vae = copy.deepcopy(self.parts.vae).eval()
        vae.load_state_dict(average.tensors, strict=False)
        images = self.parts.held_out.to(self.run.device)
        with torch.autocast(self.run.device.type, torch.bfloat16, enabled=self.uses_bf16):
            restored = restore(vae, images)
        self.run.log(f"step {self.descent.num_steps} held out: {compare(restored, images)}")
        sheet = reconstruction_sheet(images[:_NUM_SHOWN], restored[:_NUM_SHOWN])
        self.run.folder.mkdir(parents=True, exist_ok=True)
        sheet.save(self.run.folder / "held_out.png")
        self.checked_s = self.elapsed_s

    def save(self) -> None:
        """Write the resumable state."""
        self.run.folder.mkdir(parents=True, exist_ok=True)
        halves = {"vae": self.descent.state(), "critic": self.critic_descent.state()}
        tensors = {
            f"{half}/{name}": tensor
            for half, state in halves.items()
            for name, tensor in state.tensors.items()
        }
        counters = {half: state.counters for half, state in halves.items()}
        own = {name: getattr(self, name) for name in _OWN_COUNTERS}
        save_state(
            self.run.state_folder,
            TrainingState(tensors=tensors, counters={**counters, "own": own}),
        )
        self.saved_s = self.elapsed_s

    def resume(self) -> None:
        """Go on from the state on disk, if there is one.

        Raises:
            TrainingError: It belongs to a model of another shape.
        """
        folder = self.run.state_folder
        state = load_state(folder)
        if state is None:
            return
        for half, descent in (("vae", self.descent), ("critic", self.critic_descent)):
            descent.restore(_half(state, half), folder)
        for name, value in state.counters["own"].items():
            setattr(self, name, value)
        if self.has_fixed_encoder:
            self._freeze()
        self.saved_s = self.checked_s = self.elapsed_s
        self.run.log(f"autoencoder resumes from step {self.descent.num_steps}")


_OWN_COUNTERS = ("num_restarts", "warm_from", "rate_share", "error", "has_fixed_encoder")


def phase_of(progress: float, recipe: AutoencoderRecipe) -> Phase:
    """Return the phase at a share of the run."""
    if progress >= recipe.decoder_from:
        return Phase.DECODER
    return Phase.PLAIN if progress < recipe.adversarial_from else Phase.ADVERSARIAL


def critic_weight(progress: float, recipe: AutoencoderRecipe) -> float:
    """Return the critic's weight at a share of the run: fixed, after a short rise."""
    match phase_of(progress, recipe):
        case Phase.PLAIN:
            return 0.0
        case Phase.ADVERSARIAL:
            share = (progress - recipe.adversarial_from) / recipe.adversarial_rise
            return min(1.0, share) * recipe.adversarial_weight
        case Phase.DECODER:
            return recipe.decoder_adversarial_weight


def _descent(parts: AutoencoderParts, recipe: AutoencoderRecipe) -> Descent:
    optimisation, named = recipe.optimisation, dict[str, Tensor](parts.vae.named_parameters())
    group = ParameterGroup(
        parameters=list(named.values()),
        rate=optimisation.learning_rate,
        weight_decay=optimisation.weight_decay,
    )
    settings = DescentSettings(
        betas=optimisation.betas,
        max_gradient_norm=optimisation.max_gradient_norm,
        average_decay=optimisation.average_decay,
        skips_non_finite=True,
    )
    return Descent(named, [group], settings)


def _half(state: TrainingState, half: str) -> TrainingState:
    prefix = f"{half}/"
    tensors = {n.removeprefix(prefix): t for n, t in state.tensors.items() if n.startswith(prefix)}
    return TrainingState(tensors=tensors, counters=state.counters[half])
