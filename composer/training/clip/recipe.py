"""Recipes of the mini CLIP: its phases, sources and sizes.

Source: CLIPA (Li et al. 2023) for training on small pictures first and FLIP (Li et al. 2023) on a
part of the patches.
"""

from dataclasses import dataclass, field

from composer.training.schedules import warmup_and_line


@dataclass(frozen=True, kw_only=True, slots=True)
class Phase:
    """A stretch of training.

    Attributes:
        num_steps: How long it is.
        catalogue_share: Share of each batch that is drawn from the catalogue's tables.
        sketch_share: Share of sketches among these; as `source_weights` has it if None.
        image_px: Side of the pictures, a multiple of the patch.
        patch_dropout: Share of the patches left out, drawn anew for each picture.
        hard_share: Share of the batches whose catalogue pictures come from four kinds only.
        word_weight: Weight of the loss of predicting the captions' words from the picture alone.
        is_contrastive: Whether the contrastive loss is used; if not, the text tower is not trained.
        decays: Whether the learning rate falls to 2 % over the phase.
    """

    num_steps: int
    catalogue_share: float
    sketch_share: float | None = None
    image_px: int = 128
    patch_dropout: float = 0.0
    hard_share: float = 0.5
    word_weight: float = 0.0
    is_contrastive: bool = True
    decays: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipTraining:
    """The recipe of one run: `phases` follow each other.

    Words in fewer than `min_captions` of the distinct captions are not predicted.
    """

    phases: tuple[Phase, ...]
    vision_width: int = 320
    vision_layers: int = 8
    batch_size: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 0.1
    num_warmup_steps: int = 300
    min_captions: int = 30
    seed: int = 0
    save_every: int = 250
    log_every: int = 50
    source_weights: dict[str, float] = field(
        default_factory=lambda: {
            "tiny_imagenet": 0.3,
            "sketchy": 0.24,
            "chairv2": 0.08,
            "shoev2": 0.02,
            "pacs": 0.10,
            "flickr": 0.06,
            "noto": 0.10,
            "phosphor": 0.10,
            "catalogue_photos": 0.6,
            "catalogue_domains": 0.12,
            "catalogue_sketches": 0.28,
        }
    )

    @property
    def num_steps(self) -> int:
        """The steps of all phases."""
        return sum(phase.num_steps for phase in self.phases)


@dataclass(frozen=True, kw_only=True, slots=True)
class PhaseStep:
    """What a step takes from its recipe.

    Attributes:
        phase: The phase it belongs to.
        rate_factor: Share of the learning rate: warm-up, then flat or falling with the phase.
    """

    phase: Phase
    rate_factor: float


def step_of(recipe: ClipTraining, step: int) -> PhaseStep:
    """Return the phase of a step and its share of the learning rate."""
    begin, phase = 0, recipe.phases[0]
    for phase in recipe.phases:
        if step < begin + phase.num_steps:
            break
        begin += phase.num_steps
    fall = (step - begin) / phase.num_steps if phase.decays else 0.0
    factor = warmup_and_line(step, fall, num_warmup_steps=recipe.num_warmup_steps)
    return PhaseStep(phase=phase, rate_factor=factor)


CPU_RECIPE = ClipTraining(
    phases=(
        Phase(
            num_steps=800,
            catalogue_share=0.95,
            image_px=64,
            hard_share=0.0,
            word_weight=1.0,
            is_contrastive=False,
        ),
        Phase(num_steps=1600, catalogue_share=0.8, image_px=64, hard_share=0.3, word_weight=0.3),
        Phase(num_steps=900, catalogue_share=0.9, sketch_share=0.45, decays=True),
        Phase(
            num_steps=1300, catalogue_share=0.85, sketch_share=0.65, word_weight=0.3, decays=True
        ),
    ),
    vision_width=256,
    vision_layers=6,
    batch_size=64,
    learning_rate=5e-4,
    num_warmup_steps=60,
)

GPU_RECIPE = ClipTraining(
    phases=(
        Phase(
            num_steps=2000,
            catalogue_share=0.5,
            image_px=64,
            hard_share=0.0,
            word_weight=1.0,
            is_contrastive=False,
        ),
        Phase(num_steps=8000, catalogue_share=0.6, patch_dropout=0.5, word_weight=0.3),
        Phase(num_steps=4000, catalogue_share=0.7, sketch_share=0.4, decays=True),
    ),
    batch_size=1024,
)

RECIPES = {"cpu": CPU_RECIPE, "gpu": GPU_RECIPE}
