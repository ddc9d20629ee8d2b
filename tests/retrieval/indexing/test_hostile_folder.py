"""Every file of a hostile folder is indexed, or reported with its reason."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from retrieval.files import printable
from retrieval.store.maintenance import check_index
from retrieval.store.table import Store
from tests.retrieval.indexing.hostile import ADDED, write_hostile

# A child, so that the memory of this test run is not counted: of the indexing alone, beyond what
# program and model take.
CHILD = """
import json, sys
from pathlib import Path
from retrieval.benchmarks.indexing import peak_rss_bytes
from retrieval.indexing.encode import IndexOptions, index_folder
from tests.composer.tiny import tiny_backbone
from tests.retrieval.pictures import picture
folder = Path(sys.argv[1])
(folder.parent / "warm").mkdir()
picture(1).save(folder.parent / "warm/1.png")
index_folder(folder.parent / "warm", folder.parent / "warm/.duet", tiny_backbone(), kit="tiny")
before = peak_rss_bytes()
options = IndexOptions(num_workers=8, commit_every=500)
report = index_folder(folder, folder / ".duet", tiny_backbone(), kit="tiny", options=options)
peak = peak_rss_bytes()
said = {"added": report.num_added, "skipped": [[one.path, one.reason] for one in report.skipped],
        "captions": [[one.path, one.reason] for one in report.captions_left_out],
        "grown_mib": (peak - before) / 2**20}
print(json.dumps(said))
"""


@pytest.mark.parametrize("num_files", [200, pytest.param(2000, marks=pytest.mark.slow)])
def test_every_file_of_a_hostile_folder_is_accounted_for(tmp_path, num_files):
    folder = tmp_path / "photos"
    expected = write_hostile(folder, num_files)
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(folder)],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    output = json.loads(done.stdout)
    reasons = dict(output["skipped"])
    assert len(reasons) == len(output["skipped"])
    paths = {item.path for item in Store.open(folder / ".duet").items()}
    links = {b"nowhere.png", b"circle.png"}  # lead to nothing: left out for one reason or another
    for raw, fate in expected.items():
        name = printable(os.fsdecode(raw))
        if raw in links:
            assert name in reasons
        elif fate == ADDED:
            assert os.fsdecode(raw) in paths, (name, reasons.get(name))
        else:
            assert fate in reasons[name], (name, reasons[name])
    assert output["added"] == len(paths)
    assert len(paths) + len(reasons) == len(expected)
    assert {reason.split(";")[0] for _, reason in output["captions"]} == {
        "The caption is longer than 16 KiB",
        "The caption is not UTF-8",
    }
    assert all(text.isprintable() for pair in output["skipped"] for text in pair)
    assert check_index(folder / ".duet").findings == ()
    # One picture of 48 million pixels takes 140 MiB, decoding and copying it twice that.
    sys.stdout.write(f"grown by {output['grown_mib']:.0f} MiB\n")
    assert output["grown_mib"] < 800, output["grown_mib"]
