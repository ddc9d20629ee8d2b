"""The teacher of words: frozen sentence features, and a blended head onto the space of pictures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from composer.training.schedules import warmup_then_cosine
from composer.training.words.concepts import Concepts
from composer.training.words.contrast import ContrastLoss, Drawer, LossWeights
from composer.training.words.heads import Example, MlpHead, TeacherHead, examples, fit_kernel

Sentences = Callable[[Sequence[str]], Float[Tensor, "n w"]]


@dataclass(frozen=True, kw_only=True, slots=True)
class TeacherRecipe:
    """How the head is fitted.

    Attributes:
        gamma: Sharpness of the kernel.
        ridge: Its regularisation.
        max_centres: Most texts the kernel rests on.
        num_steps: Of the trained head; none leaves the kernel alone.
        mlp_share: Its share in the blend.
        noise: Length of the noise that is added to its unit inputs.
        seed: Of all that is drawn.
    """

    gamma: float = 3.0
    ridge: float = 0.1
    max_centres: int = 9000
    num_steps: int = 300
    mlp_share: float = 0.3
    noise: float = 0.5
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    seed: int = 0


def fit_teacher(concepts: Concepts, sentences: Sentences, recipe: TeacherRecipe) -> TeacherHead:
    """Fit both parts of the head on the concepts.

    Args:
        concepts: Texts and their pictures.
        sentences: Gives the sentence features of texts.
        recipe: How.
    """
    samples = examples(concepts)
    features = sentences([sample.text for sample in samples])
    kernel = fit_kernel(
        features,
        samples,
        gamma=recipe.gamma,
        ridge=recipe.ridge,
        max_centres=recipe.max_centres,
        seed=recipe.seed,
    )
    mlp = fit_mlp(concepts, samples, features, recipe)
    return TeacherHead(kernel=kernel, mlp=mlp, mlp_share=recipe.mlp_share)


def fit_mlp(
    concepts: Concepts,
    samples: Sequence[Example],
    features: Float[Tensor, "n w"],
    recipe: TeacherRecipe,
) -> MlpHead:
    """Train the second part; `features` belong to `samples`."""
    row = {sample.text: index for index, sample in enumerate(samples)}
    width, dim = features.shape[1], concepts.features.shape[1]
    head = MlpHead(width, dim, seed=recipe.seed)
    matrices = [p for p in head.parameters() if p.ndim > 0]
    groups = [
        {"params": matrices, "weight_decay": recipe.weight_decay},
        {"params": [head.log_scale], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate)
    loss_of, drawer = ContrastLoss(concepts), Drawer(concepts, times=3)
    for step in range(recipe.num_steps):
        rng = np.random.default_rng([recipe.seed, step])
        draws = drawer.draw(rng)
        inputs = features[[row[draw.text] for draw in draws]]
        jitter = torch.from_numpy(rng.standard_normal(inputs.shape, dtype=np.float32))
        inputs = functional.normalize(inputs + recipe.noise / width**0.5 * jitter, dim=-1)
        rate = recipe.learning_rate * warmup_then_cosine(step / recipe.num_steps, warmup=0.05)
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = loss_of(head(inputs), draws, head.log_scale.exp().clamp(max=60), LossWeights())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(head.parameters(), 1.0)
        optimizer.step()
    return head.eval().requires_grad_(False)
