import torch

from generation.training.critic import PatchCritic
from generation.training.loop import step_generator


def pair():
    generator = step_generator(0, 0)
    real = torch.rand(4, 3, 32, 32, generator=generator) * 2 - 1
    return real, real.mean((2, 3), keepdim=True).expand_as(real).clone()


def test_a_push_moves_pictures_and_a_lesson_the_critic():
    torch.manual_seed(0)
    critic, (real, restored) = PatchCritic(4), pair()
    restored.requires_grad_()
    critic.push(restored).backward()
    assert float(restored.grad.abs().sum()) > 0
    assert all(p.grad is None for p in critic.parameters())
    restored.grad = None
    critic.lesson(real, restored).backward()
    assert restored.grad is None
    assert all(p.grad is not None for p in critic.parameters())


def test_lessons_teach_it_to_score_real_patches_higher():
    torch.manual_seed(0)
    critic, (real, restored) = PatchCritic(8), pair()
    optimizer = torch.optim.AdamW(critic.parameters(), lr=1e-2, betas=(0.5, 0.9))
    first = float(critic.lesson(real, restored).detach())
    for _ in range(40):
        optimizer.zero_grad()
        critic.lesson(real, restored).backward()
        optimizer.step()
    assert float(critic.lesson(real, restored).detach()) < 0.5 * first
    with torch.no_grad():
        assert critic(real).shape == (4, 1, 4, 4)
        assert critic(real).mean() > critic(restored).mean()
        assert critic.push(restored) > critic.push(real)
