"""Scenes keep what they promise: groups of four, sizes, slots, words, and who stands where."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from assets.catalogue import arrangement, casting, placement, plan
from assets.catalogue.__main__ import main
from assets.catalogue.arrangement import Relation, groups
from assets.catalogue.arrangement_words import relation_phrase, scene_caption, thing_phrase
from assets.catalogue.camera import axes_of
from assets.catalogue.finish import look
from assets.catalogue.kinds import KINDS
from assets.catalogue.model import Finish
from assets.catalogue.plan import Split
from assets.catalogue.scene import coordinates
from assets.catalogue.scenes import row_of
from assets.catalogue.words import UNSEEN_KINDS

HELD_OUT = (Split.TEST, Split.UNSEEN, Split.VALIDATION)


def _scenes(*splits):
    return [scene for split in splits for group in groups(split) for scene in group.scenes]


def test_held_out_groups_have_the_promised_four_members():
    assert [len(groups(split)) for split in HELD_OUT] == [32, 8, 24]
    for group in (g for split in HELD_OUT for g in groups(split)):
        a, b, c, d = group.scenes
        assert [s.member for s in group.scenes] == ["a", "b", "c", "d"]
        assert a.things[0] == b.things[0] == c.things[0]
        assert a.things[0].design.id == group.lead.id
        assert {a.relation, b.relation} in (
            {Relation.LEFT, Relation.RIGHT},
            {Relation.FRONT, Relation.BEHIND},
        )
        assert a.things[1] == b.things[1] == d.things[1] != c.things[1]
        main, rival = a.things[0], d.things[0]
        assert main.design.kind == rival.design.kind
        assert main.design.id != rival.design.id
        assert main.colourway == rival.colourway
        assert len({s.view for s in group.scenes}) == 1
        assert len({tuple(t.design.id for t in s.things[2:]) for s in group.scenes}) == 1


def test_half_of_the_groups_are_crowded_and_left_and_right_are_most_of_the_relations():
    for split in HELD_OUT:
        sizes = [len(group.scenes[0].things) for group in groups(split)]
        assert sum(size > 2 for size in sizes) == len(sizes) / 2
        assert set(sizes) <= {2, 3, 4}
    counts = Counter(scene.relation for scene in _scenes(*HELD_OUT))
    assert counts[Relation.LEFT] + counts[Relation.RIGHT] > counts.total() / 2
    assert min(counts[relation] for relation in Relation) > 10


def test_no_design_is_drawn_for_two_groups_and_splits_do_not_mix():
    for split in HELD_OUT:
        mains = [{s.things[0].design.id for s in group.scenes} for group in groups(split)]
        assert len(set.union(*mains)) == sum(len(ids) for ids in mains)
        company = Split.TEST if split is Split.UNSEEN else split
        for scene in _scenes(split):
            first, *others = scene.things
            assert first.design.split is split
            assert (first.design.kind in UNSEEN_KINDS) == (split is Split.UNSEEN)
            assert {thing.design.split for thing in others} == {company}


def test_all_of_a_scene_differ_in_kind_and_fit_the_studio():
    for scene in _scenes(*HELD_OUT):
        kinds = [thing.design.kind for thing in scene.things]
        assert len(set(kinds)) == len(kinds)
        assert any(set(kinds) <= set(setting) for setting in casting.SETTINGS)
        assert not set(kinds[2:]) & set(casting.LARGE)
    for scene in _scenes(*HELD_OUT)[::12]:
        worn = {
            KINDS[t.design.kind].colourways[t.colourway].finish_of(part.name)
            for t in scene.things
            for part in KINDS[t.design.kind].build(t.design.shape)
        }
        assert sum(finish.material == "glass" for finish in worn) <= 2
        assert sum(finish.material != "glass" for finish in worn) <= 6


def test_training_scenes_have_every_order(monkeypatch):
    monkeypatch.setattr(arrangement, "catalogue", lambda _: plan.catalogue(Split.VALIDATION)[:60])
    loose = [s for group in groups.__wrapped__(Split.TRAIN) for s in group.scenes]
    assert len({scene.id for scene in loose}) == len(loose) > 100
    assert {scene.relation for scene in loose} == set(Relation)
    assert {len(scene.things) for scene in loose} == {2, 3, 4}
    assert {scene.member for scene in loose} == {""}


def test_a_company_that_never_fits_is_told(monkeypatch):
    lead = groups(Split.TEST)[0].lead
    company = {kind: plan.designs(kind)[:1] for kind in ("table", "sofa")}
    rng = np.random.default_rng(0)
    assert casting.cast(lead, company, 1, 0, rng).neighbours[0].design.kind in company
    monkeypatch.setattr(casting, "NUM_SURFACES", 1)
    with pytest.raises(ValueError, match="No company of chair-0000 fits"):
        casting.cast(lead, company, 1, 0, rng)


@pytest.mark.parametrize(
    ("kind", "finish", "text"),
    [
        ("vase", ("blue", "ceramic", "plain"), "a blue vase"),
        ("table", ("oak", "wood", "plain"), "an oak table"),
        ("sofa", ("navy", "fabric", "striped"), "a striped navy sofa"),
        ("bottle", ("green", "glass", "plain"), "a green glass bottle"),
    ],
)
def test_a_thing_is_said_by_its_look(kind, finish, text):
    colour, material, pattern = finish
    assert thing_phrase(kind, Finish(colour=colour, material=material, pattern=pattern)) == text


def test_captions_by_hand():
    where = relation_phrase(Relation.LEFT.value, "a blue vase")
    assert where == "to the left of a blue vase"
    assert scene_caption("a red armchair", where, ()) == "a red armchair to the left of a blue vase"
    assert scene_caption("an oak table", "behind a white sofa", ("stool", "armchair")) == (
        "an oak table behind a white sofa, with a stool and an armchair nearby"
    )


def test_the_query_names_neither_the_drawn_kind_nor_its_shape():
    for split in HELD_OUT:
        for group in groups(split):
            for scene in group.scenes:
                row = row_of(scene, group.lead)
                assert row["kind"] not in row["words"].split()
                assert not any(w in row["words"] for w in scene.things[0].design.shape.words)
                assert row["words"] in row["caption"]


@pytest.fixture(scope="module")
def placed():
    """Scenes of two and of more things, side by side and one behind the other."""
    chosen = [
        next(
            scene
            for scene in _scenes(Split.TEST)
            if scene.relation is relation and (len(scene.things) > 2) == is_crowded
        )
        for relation in (Relation.LEFT, Relation.BEHIND)
        for is_crowded in (False, True)
    ]
    return [(scene, placement.arrange(scene)) for scene in chosen]


def test_things_stand_as_said_seen_from_the_camera(placed):
    for scene, (first, second, *_) in placed:
        right, _, backward = axes_of(scene.view.camera)
        step = first.middle - second.middle
        across, nearer = step @ right, (step * (1, 0, 1)) @ backward
        if scene.relation is Relation.LEFT:
            assert across < 0
            assert abs(across) > abs(nearer)
        else:
            assert nearer < 0
            assert abs(nearer) > abs(across) / 1.2


def test_the_other_order_is_the_other_side(placed):
    a, b = groups(Split.TEST)[1].scenes[:2]
    (first, second, *_), (again, beside, *_) = placement.arrange(a), placement.arrange(b)
    apart = first.middle[0] - second.middle[0]
    assert apart == pytest.approx(beside.middle[0] - again.middle[0])


def test_nothing_floats_touches_or_hides_much(placed):
    for scene, standing in placed:
        for number, nearer in enumerate(standing):
            assert nearer.points[:, 1].min() == pytest.approx(0, abs=1e-6)
            for other in standing[:number]:
                apart = np.abs(nearer.middle - other.middle) - nearer.half - other.half
                assert apart[[0, 2]].max() > 0.01
                assert placement.hidden(nearer, other, scene.view.camera) <= 0.2


def test_hidden_is_a_share_of_the_farther_rectangle(placed):
    scene, (thing, *_) = placed[0]
    camera = scene.view.camera
    assert placement.hidden(thing.at(0.0, 0.0), thing.at(0.0, -0.01), camera) > 0.9
    assert placement.hidden(thing.at(-5.0, 0.0), thing.at(5.0, 0.0), camera) == 0
    half = thing.half[0]
    assert 0.4 < placement.hidden(thing.at(0.0, 0.0), thing.at(half, 0.0), camera) < 0.6


def test_a_thing_shows_the_side_that_its_azimuth_says():
    thing = groups(Split.TEST)[0].scenes[0].things[0]
    stood = placement.stand(replace(thing, scale=2.0))
    corners = np.concatenate(
        [np.asarray(p.mesh.vertices) for p in KINDS["chair"].build(thing.design.shape)]
    )
    azimuth = np.radians(thing.azimuth)
    right = np.array([np.cos(azimuth), 0, -np.sin(azimuth)])
    front = np.array([np.sin(azimuth), 0, np.cos(azimuth)])
    assert stood.half[0] == pytest.approx(np.ptp(corners @ right), rel=1e-3)
    assert stood.half[2] == pytest.approx(np.ptp(corners @ front), rel=1e-3)
    # The top of the back stands behind the middle, to the side that the turn takes it.
    top = corners[corners[:, 1] > 0.95 * corners[:, 1].max()]
    combined = stood.points[stood.points[:, 1] > 0.95 * stood.points[:, 1].max()]
    for axis, axis_index in ((right, 0), (front, 2)):
        along = (top @ axis).min() + (top @ axis).max()
        middle = (corners @ axis).min() + (corners @ axis).max()
        assert combined[:, axis_index].min() + combined[:, axis_index].max() == pytest.approx(
            2 * (along - middle), abs=0.02
        )


def test_a_combined_scene_has_radius_one_and_every_part_its_own_finish_and_texture(placed):
    scene, standing = placed[1]
    whole = placement.combined(standing)
    points = np.concatenate([solid.positions for solid in whole.solids])
    middle = (points.min(0) + points.max(0)) / 2
    assert np.linalg.norm(points - middle, axis=1).max() == pytest.approx(1, abs=1e-4)
    colourway = placement.worn(scene.things, standing)
    alone = [(thing, solid) for thing, s in zip(scene.things, standing, strict=True)
             for solid in s.prepared.solids]  # fmt: skip
    assert len(alone) == len(whole.solids) == len({s.part.name for s in whole.solids})
    for (thing, single), combined in zip(alone, whole.solids, strict=True):
        finish = KINDS[thing.design.kind].colourways[thing.colourway].finish_of(single.part.name)
        assert colourway.finish_of(combined.part.name) == finish
        for worn in (finish, Finish(colour="red", material="fabric", pattern="checked")):
            assert np.array_equal(
                coordinates(combined, look(worn)), coordinates(single, look(worn))
            )


def test_scenes_are_made_with_their_tables_and_not_twice(tmp_path, capsys):
    pytest.importorskip("mitsuba", reason="rendering needs the extra `catalogue`")
    out, work = tmp_path / "scenes", tmp_path / "work"
    command = ["scenes", "--out", str(out), "--work", str(work), "--split", "validation"]
    command += ["--size", "48", "--spp", "1", "--limit", "1", "--workers", "1"]
    assert main(command) == 0
    rows = pq.read_table(out / "scenes.parquet").to_pylist()
    assert [row["member"] for row in rows] == ["a", "b", "c", "d"]
    for row in rows:
        with Image.open(out / row["path"]) as picture:
            assert picture.size == (48, 48)
        assert len(row["kinds"]) == row["num_objects"]
    drawn = pq.read_table(out / "sketches.parquet").to_pylist()
    skills = {row["design"]: row["skill"] for row in rows}
    assert {row["design"]: row["skill"] for row in drawn} == skills
    assert len(drawn) == 2
    before = (out / rows[0]["path"]).stat().st_mtime_ns
    assert main(command) == 0
    assert (out / rows[0]["path"]).stat().st_mtime_ns == before
    assert "1 of 1 designs are done" in capsys.readouterr().err
    assert main(["scenes", "--out", str(out), "--split", "spring"]) == 2
    assert "`split` must be one of test, validation, train" in capsys.readouterr().err
