"""`duet bench generation --best-of`, on a small kit and a small gallery."""

import json

import pytest

from composer.backbone import Backbone
from generation import benchmark
from studio import galleries
from studio.cli import main
from studio.commands import bench_best_of, bench_gallery, bench_generation
from tests.generation.test_benchmark import make_judge
from tests.retrieval.tiny_world import write_world
from tests.studio.tiny_kit import write_kit


@pytest.fixture
def ask(tmp_path, monkeypatch, capsys):
    kit = write_kit(tmp_path / "kit")
    write_world(tmp_path / "assets" / "gallery", Backbone.load(kit / "clip"))
    make_judge().save(kit / "judge.safetensors")
    text = (kit / "kit.toml").read_text()
    judge = '\njudge = "judge.safetensors"\n[drawing]\nnum_inference_steps = 1\n'
    (kit / "kit.toml").write_text(text.rstrip() + judge)
    for module in (galleries, bench_gallery, bench_generation):
        monkeypatch.setattr(module, "assets_folder", lambda: tmp_path / "assets")

    def run(*more):
        code = main(["bench", "generation", "--kit", str(kit), "--json", *map(str, more)])
        return code, capsys.readouterr()

    return run


def test_the_best_by_the_score_is_judged_beside_one_that_was_not_scored(ask, monkeypatch):
    seeds: list[tuple[int, ...]] = []
    draw = benchmark.draw

    def spy(pipeline, cases, *more):
        seeds.append(tuple(case.seed for case in cases))
        return draw(pipeline, cases, *more)

    monkeypatch.setattr(benchmark, "draw", spy)
    monkeypatch.setattr(bench_best_of, "best_first", lambda scored: [1, 0])
    judged = []
    outcomes = benchmark.outcomes

    def watch(judge, cases, pictures):
        judged.append([picture.tobytes() for picture in pictures])
        return outcomes(judge, cases, pictures)

    monkeypatch.setattr(benchmark, "outcomes", watch)
    code, said = ask("--best-of", 2)
    assert code == 0, said.err
    one, best, gain = json.loads(said.out)["rows"]
    assert [row["pictures"] for row in (one, best, gain)] == [
        "one", "best of 2", "best of 2 minus one",
    ]  # fmt: skip
    assert {row["num_queries"] for row in (one, best, gain)} == {3}
    for measure in ("kind", "colour", "joint", "sketch_agreement"):
        assert gain[measure] == pytest.approx(best[measure] - one[measure])
        assert gain[f"{measure}_low"] <= gain[measure] <= gain[f"{measure}_high"]
    assert len({seed for drawn in seeds for seed in drawn}) == 9  # three queries, three seeds each
    alone, chosen = judged
    assert all(picture not in chosen for picture in alone)


def test_single_conditions_are_drawn_alone(ask):
    code, said = ask("--ways", "text", "text, own drawing")
    assert code == 0, said.err
    rows = [row for row in json.loads(said.out)["rows"] if "query" in row]
    assert [row["query"] for row in rows] == ["real", "text", "text, own drawing"]
    code, said = ask("--ways", "texts")
    assert code == 2
    assert "--ways must be of 'sketch+text', 'sketch', 'text'" in said.err


@pytest.mark.parametrize("num", [0, 1000])
def test_no_and_too_many_pictures_are_refused(ask, num):
    code, said = ask("--best-of", num)
    assert (code, said.out) == (2, "")
    assert "--best-of must be a whole number from 1 to 64" in said.err
