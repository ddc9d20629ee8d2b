import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from composer.data.domain_pictures import NAMED, UNNAMED, read_domain_pictures
from composer.data.tree import DatasetError
from generation.domain_judge import DomainJudge
from generation.training import domain_judge
from tests.generation.training.test_feature_judge_training import MeanColours

COLOURS = {"photo": (30, 30), "clay": (230, 30), "x1": (30, 230)}  # green and blue


def write(folder, designs, side):
    folder.mkdir()
    for table, domains in ((NAMED, ("photo", "clay")), (UNNAMED, ("x1",))):
        rows = []
        for number in designs:
            for domain in domains:
                kind = ("bowl", "lamp")[number % 2]
                name = f"{number}-{domain}.png"
                colour = (200 * (number % 2) + number, *COLOURS[domain])
                Image.new("RGB", (side, side), colour).save(folder / name)
                rows.append({"path": name, "design": str(number), "kind": kind, "domain": domain})
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{table}.parquet")
    return str(folder)


def test_the_judge_learns_from_one_folder_and_is_measured_on_the_other(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(domain_judge, "PublicFeatures", MeanColours)
    data, check = write(tmp_path / "a", range(8), 64), write(tmp_path / "b", range(8, 12), 96)
    output = tmp_path / "judge"
    asked = ["--data", data, "--check", check, "--output", str(output)]
    assert domain_judge.main(asked) == 0
    figures = json.loads(capsys.readouterr().out)
    right = {"kind_accuracy": 1.0, "domain_accuracy": 1.0}
    assert figures == dict.fromkeys(COLOURS, right)
    judge = DomainJudge.load(output, MeanColours())
    (named,) = judge.assess([Image.new("RGB", (300, 200), (205, 220, 40))])
    assert (named.kind, named.domain) == ("lamp", "clay")


def test_a_missing_or_foreign_table_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="must hold"):
        read_domain_pictures(tmp_path, NAMED)
    pq.write_table(pa.Table.from_pylist([{"path": "a.png"}]), tmp_path / "domains.parquet")
    with pytest.raises(DatasetError, match="make the folder again"):
        read_domain_pictures(tmp_path, NAMED)
