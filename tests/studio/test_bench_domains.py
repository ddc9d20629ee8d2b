"""`duet bench domains`, on a small kit, a small gallery and flat pictures of two domains."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from composer.backbone import Backbone
from composer.data.domain_pictures import NAMED, UNNAMED, read_domain_pictures
from composer.strategies.converter import TextConverter
from generation.domain_judge import DOMAINS_FILE, KINDS_FILE
from generation.training.domain_judge import fit_domain_judge
from studio import domain_examples
from studio.cli import main
from studio.commands import bench_domains
from tests.generation.training.test_feature_judge_training import MeanColours
from tests.studio.tiny_kit import write_kit

KINDS = {"bowl": (0, 0), "chair": (36, 0), "lamp": (0, 36)}  # where a dark square lies
DOMAINS = {"photo": (230, 60, 60), "clay": (60, 230, 60), "x1": (60, 60, 230)}


def write_pictures(folder, table, domains, *, num=2, first=0):
    """Write pictures whose dark quarter says the kind, and whose colour the domain."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    rows = []
    for kind, corner in KINDS.items():
        for domain in domains:
            for number in range(first, first + num):
                picture = Image.new("RGB", (72, 72), DOMAINS[domain])
                picture.paste((number, 0, 0), (*corner, corner[0] + 36, corner[1] + 36))
                name = f"images/{kind}-{number}-{domain}.png"
                picture.save(folder / name)
                design = f"{kind}-{number}"
                rows.append({"path": name, "design": design, "kind": kind, "domain": domain})
    pq.write_table(pa.Table.from_pylist(rows), folder / f"{table}.parquet")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    kit = write_kit(folder / "kit")
    torch.manual_seed(0)
    TextConverter(Backbone.load(kit / "clip")).save(kit / "composers" / "converter.safetensors")
    more = '[converter]\nweights = "composers/converter.safetensors"\n'
    more += "[drawing]\nnum_inference_steps = 1\nnum_transfer_steps = 2\n"
    (kit / "kit.toml").write_text((kit / "kit.toml").read_text() + more)
    domains = folder / "assets" / "domains"
    write_pictures(domains, NAMED, ("photo", "clay"))
    write_pictures(domains, UNNAMED, ("x1",))
    write_pictures(folder / "assets" / "gallery", "items", ("photo",), num=3, first=1)
    judge = fit_domain_judge(read_domain_pictures(domains, NAMED, UNNAMED), MeanColours())
    judge.kinds.save(domains / KINDS_FILE)
    judge.domains.save(domains / DOMAINS_FILE)
    return folder


@pytest.fixture
def ask(world, monkeypatch, capsys):
    for module in (bench_domains, domain_examples):
        monkeypatch.setattr(module, "assets_folder", lambda: world / "assets")
    monkeypatch.setattr(bench_domains, "PublicFeatures", MeanColours)
    monkeypatch.setattr(bench_domains, "is_installed", lambda: True)

    def run(*more):
        asked = ("bench", "domains", "--kit", world / "kit", "--json", *more)
        return main([str(part) for part in asked]), capsys.readouterr()

    return run


def rows_of(said):
    return json.loads(said.out)["rows"]


def test_every_way_is_judged_beside_real_pictures(ask, tmp_path):
    code, said = ask("--count", 2, "--sheet", tmp_path / "sheet.png")
    assert code == 0, said.err
    rows = rows_of(said)
    real = {row["domain"]: row for row in rows if row["asked_by"] == "real pictures"}
    assert list(real) == ["photo", "clay", "x1", "all"]
    assert (real["all"]["reached"], real["all"]["kind_kept"], real["clay"]["num_pictures"]) == (
        1.0, 1.0, 6,
    )  # fmt: skip
    (nothing,) = [row for row in rows if row["asked_by"] == "nothing"]
    assert (nothing["reached"], nothing["colour_distance"], nothing["changed"]) == (1.0, 0.0, 0.0)
    drawn = [(row["domain"], row["asked_by"]) for row in rows[5:]]
    assert drawn == [
        ("clay", "name"), ("clay", "words"), ("clay", "examples"), ("clay", "one-kind"),
        ("x1", "examples"), ("x1", "one-kind"),
        ("all named", "name"), ("all named", "words"), ("all named", "examples"),
        ("all named", "one-kind"), ("all unnamed", "examples"), ("all unnamed", "one-kind"),
    ]  # fmt: skip
    assert {row["num_pictures"] for row in rows[5:]} == {2}
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 4 * 128


def test_a_run_is_repeatable_and_its_settings_count(ask):
    few = ("--count", 2, "--ways", "name")
    first, again = (rows_of(ask(*few)[1]) for _ in range(2))
    assert first == again
    assert rows_of(ask(*few, "--strength", 1.0)[1])[-1] != first[-1]


def test_photographs_are_of_other_designs_and_no_design_comes_twice_before_all(world, ask):
    pictures = read_domain_pictures(world / "assets" / "domains", NAMED)
    photos = bench_domains.photographs(pictures, {"bowl", "chair"}, np.random.default_rng(0))
    assert {one.kind for one in photos} == {"bowl", "chair"}
    assert not {one.design for one in photos} & {one.design for one in pictures}
    assert len({one.design for one in photos[:4]}) == len({one.design for one in photos}) == 4


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (("--ways", "guess"), "--ways must be of name, words, examples, one-kind; got 'guess'."),
        (("--count", 9), "--count must be at most 2 here."),
        (("--count", 0), "--count must be at least 1"),
        (("--count", 1, "--strength", 0.1), "`num_inference_steps` times `strength`"),
        (("--count", 1, "--faithful"), "draws in a few jumps"),
    ],
)
def test_what_cannot_be_measured_is_refused(ask, asked, message):
    code, said = ask(*asked)
    assert (code, said.out) == (2, "")
    assert message in said.err
