import json
from pathlib import Path

import pytest
import torch
from open_clip import CLIP
from open_clip.model import CLIPTextCfg, CLIPVisionCfg
from safetensors.torch import load_file, save_file
from torch import Tensor

from composer.backbone import Backbone
from composer.training.words import tower as tower_module
from composer.training.words.concepts import Concepts
from composer.training.words.distil import (
    Distiller,
    DistilRecipe,
    LessonTokens,
    relation_loss,
    turn_towards,
)
from composer.training.words.lessons import Lessons, LessonSource
from composer.training.words.tower import (
    WEIGHTS_NAME,
    TextTower,
    learn_words,
    put_into_clip,
    read_tokenizer,
    start_words,
    tokenize,
    whole_words,
)
from generation.conditioning import encode_token_embeddings
from generation.training.text_export import export_text_encoder, export_tokenizer
from tests.composer.training.words.tiny_world import WIDTH, sentences, tiny_concepts

WORDS = (("cat", 9), ("dog", 9), ("boat", 9), ("photo", 9), ("dark", 9), ("sea", 9), ("night", 9))
TEXTS = ("cat", "a photo of a dog", "the dark sea at night", "boat " * 60, "größe 7!")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tower_module, "VOCAB_SIZE", 540)
    learn_words(WORDS, tmp_path / "text")
    return tmp_path / "text"


@pytest.fixture
def tower(folder: Path) -> TextTower:
    return TextTower(read_tokenizer(folder).vocab_size, dim=5, num_layers=2)


def _clip_folder(path: Path) -> Path:
    """A CLIP folder with a tiny vision tower and a text tower of another vocabulary."""
    vision = {"layers": 1, "width": 16, "head_width": 8, "patch_size": 8, "image_size": 16}
    text = {"context_length": 8, "vocab_size": 30, "width": 8, "heads": 1, "layers": 1}
    model = CLIP(5, CLIPVisionCfg(**vision), CLIPTextCfg(**text))
    path.mkdir()
    config = {
        "model_cfg": {"embed_dim": 5, "vision_cfg": vision, "text_cfg": text},
        "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic"},
    }
    (path / "open_clip_config.json").write_text(json.dumps(config))
    save_file(dict(model.state_dict()), path / "open_clip_model.safetensors")
    return path


def test_texts_are_padded_with_the_end_and_cut(folder: Path):
    tokenizer = read_tokenizer(folder)
    ids = tokenize(tokenizer, ["cat", "boat " * 60])
    start, end = tokenizer.sot_token_id, tokenizer.eot_token_id
    assert ids[0].tolist() == [start, tokenizer.encoder["cat</w>"], *[end] * 38]
    assert (int(ids[1, 0]), int(ids[1, -1]), len(set(ids[1].tolist()))) == (start, end, 3)
    assert end == tokenizer.vocab_size - 1


def test_whole_words_start_from_the_teachers_in_the_old_spread(folder: Path, tower: TextTower):
    tokenizer = read_tokenizer(folder)
    table = tower.transformer.token_embedding.weight
    before = table.detach().clone()
    spread = float(before.std())
    words = whole_words(tokenizer)
    assert {"cat", "boat", "night"} <= set(words.values())
    assert start_words(tower, tokenizer, sentences) == len(words)
    others = [i for i in range(len(table)) if i not in words]
    assert torch.equal(table[others], before[others])
    started = table[list(words)][:, :WIDTH].detach()
    assert float(started.std()) == pytest.approx(spread, rel=0.02)
    # Axes are turned, distances stay those of the sentence features.
    features = sentences(list(words.values()))
    theirs, ours = torch.cdist(features, features), torch.cdist(started, started)
    assert torch.corrcoef(torch.stack([theirs.flatten(), ours.flatten()]))[0, 1] > 0.999


def test_a_tower_comes_back_from_its_file(tmp_path: Path, folder: Path, tower: TextTower):
    tower.save(folder)
    ids = tokenize(read_tokenizer(folder), TEXTS).long()
    back = TextTower.load(folder)
    torch.testing.assert_close(back(ids), tower(ids), atol=5e-3, rtol=0)
    assert not any(p.requires_grad for p in back.parameters())
    assert load_file(folder / WEIGHTS_NAME)["positional_embedding"].dtype == torch.float16


def test_open_clip_and_transformers_read_the_tower(tmp_path: Path, folder: Path, tower: TextTower):
    """In a CLIP folder the features are the tower's own; the pipeline's hidden states agree."""
    tower.save(folder)
    clip = _clip_folder(tmp_path / "clip")
    put_into_clip(folder, clip)
    backbone = Backbone.load(clip)
    ids = tokenize(read_tokenizer(folder), TEXTS).long()
    assert torch.equal(backbone.tokenize(TEXTS), ids)
    with torch.no_grad():
        ours = TextTower.load(folder)(ids)
        theirs = backbone.encode_text(TEXTS)
        exported = export_text_encoder(backbone)
        hidden = encode_token_embeddings(exported, backbone.token_table()[ids])
        ends = ids.argmax(1)
        expected = backbone.encode_embeddings(backbone.token_table()[ids], ends).hidden
    torch.testing.assert_close(theirs, ours, atol=1e-5, rtol=0)
    torch.testing.assert_close(hidden, expected, atol=1e-4, rtol=0)
    assert len(export_tokenizer(backbone, clip)) == backbone.token_table().shape[0]


def test_a_tower_of_another_space_is_not_put_into_a_clip(tmp_path: Path, folder: Path):
    TextTower(read_tokenizer(folder).vocab_size, dim=7, num_layers=1).save(folder)
    with pytest.raises(ValueError, match="joint space of 7 dimensions, the CLIP has 5"):
        put_into_clip(folder, _clip_folder(tmp_path / "clip"))


def _lessons() -> Lessons:
    texts = ("cat", "dog", "boat", "the dark sea", "a photo of a cat", "a boat at night")
    index = torch.tensor([0, 1, 3, 4, 0, 3])
    return Lessons(texts=texts, sources=(LessonSource.NOUN,) * 6, targets=torch.eye(5)[index])


def _distiller(folder: Path, state: Path, concepts: Concepts, num_steps: int) -> Distiller:
    tokenizer = read_tokenizer(folder)
    texts = [text for item in concepts.items for text in (*item.texts, *item.glosses)]
    tokens = LessonTokens(tokenizer, _lessons(), texts)
    tower = TextTower(tokenizer.vocab_size, dim=5, num_layers=2)
    recipe = DistilRecipe(num_steps=num_steps, save_every=2, log_every=4, decay=0.5)
    return Distiller(tower, tokens, concepts, recipe, state)


def test_the_tower_learns_its_lessons(tmp_path: Path, folder: Path):
    trained = _distiller(folder, tmp_path / "state", tiny_concepts(), 16).run()
    ids = tokenize(read_tokenizer(folder), _lessons().texts).long()
    with torch.no_grad():
        found = trained(ids) @ torch.eye(5).T
    assert found.argmax(1).tolist() == [0, 1, 3, 4, 0, 3]


def test_a_trained_tower_turns_to_another_space(folder: Path, tower: TextTower):
    """A rotation of all answers is what a projection can do exactly."""
    texts = [f"{a} {b} {c}" for a, _ in WORDS for b, _ in WORDS for c, _ in WORDS[:3]]
    ids = tokenize(read_tokenizer(folder), texts)
    with torch.no_grad():
        before = tower(ids.long())
    rotation = torch.linalg.qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(0))).Q
    assert turn_towards(tower, ids, before @ rotation) > 0.999
    with torch.no_grad():
        torch.testing.assert_close(tower(ids.long()), before @ rotation, atol=1e-3, rtol=0)


def test_a_stopped_run_ends_as_one_that_was_not(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
):
    concepts = tiny_concepts()
    whole = _distiller(folder, tmp_path / "whole", concepts, 6).run()
    stopped = _distiller(folder, tmp_path / "stopped", concepts, 6)
    step = Distiller._train_step

    def stop_at_five(self: Distiller) -> tuple[float, float]:
        if self.step == 5:
            raise KeyboardInterrupt
        return step(self)

    with monkeypatch.context() as patch:
        patch.setattr(Distiller, "_train_step", stop_at_five)
        with pytest.raises(KeyboardInterrupt):
            stopped.run()
    resumed = _distiller(folder, tmp_path / "stopped", concepts, 6)
    assert resumed.step == 4
    again = resumed.run()
    for name, tensor in whole.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], tensor, msg=name)


def test_the_relations_are_right_where_the_answers_are_the_targets():
    targets = torch.nn.functional.normalize(torch.randn(8, 5), dim=-1)

    def loss(answers: Tensor) -> float:
        return float(relation_loss(answers, targets, 20.0))

    wanted = (20 * targets @ targets.T).softmax(1)
    assert loss(targets) == pytest.approx(float(-(wanted * wanted.log()).sum(1).mean()), abs=1e-4)
    assert loss(targets.roll(1, 0)) > loss(targets)
