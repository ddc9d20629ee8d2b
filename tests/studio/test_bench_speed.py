"""`duet bench speed` with random weights, and levers and offloading from the command line."""

import json

import pytest
import torch

from generation.memory_plan import GIB
from studio import speed_columns
from studio.cli import main
from studio.commands import doctor
from studio.commands.doctor import what_fits
from studio.drawing import DrawingMode
from studio.engine import Engine
from studio.kit_file import read_kit_file
from studio.kits import load_kit
from studio.random_kit import PARAMETERS, full_size_footprints, random_kit, read_shapes
from tests.studio.test_random_kit import EXPECTED
from tests.studio.tiny_kit import write_kit
from tests.studio.tiny_shapes import write_tiny_kit


@pytest.fixture(autouse=True)
def _nothing_downloaded(tmp_path, monkeypatch):
    monkeypatch.setenv("DUET_HOME", str(tmp_path / "home"))


def test_three_columns_are_measured_beside_the_plain_call(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(speed_columns, "NUM_RUNS", 1)
    kit = write_tiny_kit(tmp_path / "kit", "sd15")
    arguments = ["--kit", str(kit), "--device", "cpu", "--steps", "2", "--batch", "1", "2"]
    assert (
        main(["bench", "speed", *arguments, "--random-weights", "--control", "without", "--json"])
        == 0
    )
    printed = capsys.readouterr()
    rows = json.loads(printed.out)["rows"]
    columns = ["plain", "exact", "close", "lossy", "few-steps"]
    assert [row["column"] for row in rows] == 2 * columns
    assert rows[1]["difference"] == 0.0
    assert rows[2]["difference"] <= 2.0
    assert rows[3]["difference"] > rows[2]["difference"]
    assert rows[2]["levers"] == "reuse_text channels_last fused_projections"
    assert [rows[0]["what"], rows[5]["what"]] == [
        f"64 px, 2 steps, batch {batch}" for batch in (1, 2)
    ]
    assert all(row["peer_ms"] == rows[0]["peer_ms"] and row["peak_gb"] > 0 for row in rows[:5])
    # The reserve of every plan, and what the process had before.
    assert {row["planned_gb"] > 0.4 for row in rows} == {True}
    assert len({row["planned_gb"] for row in rows}) == 1
    assert "The weights are random" in printed.err


def test_the_control_network_is_measured_too(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(speed_columns, "NUM_RUNS", 1)
    kit = write_tiny_kit(tmp_path / "kit", "sdxl")
    arguments = ["--kit", str(kit), "--device", "cpu", "--steps", "2", "--columns", "exact"]
    assert main(["bench", "speed", *arguments, "--random-weights", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["what"].endswith("control network") for row in rows] == [False, False, True, True]
    assert [row["difference"] for row in rows] == [0.0] * 4


def test_random_weights_are_for_the_measurement_of_speed_alone(capsys):
    assert main(["bench", "composers", "--kit", "sd15", "--random-weights"]) == 2
    assert "say nothing but time and memory" in capsys.readouterr().err
    assert main(["bench", "speed", "--kit", "siglip2-b32", "--random-weights"]) == 2
    assert "shapes of the models of 'siglip2-b32' are not known" in capsys.readouterr().err


def test_levers_come_from_the_kit_and_from_fast(tmp_path):
    folder = write_kit(tmp_path / "kit")
    text = (folder / "kit.toml").read_text()
    (folder / "kit.toml").write_text(f"{text}\n[speed]\ncache_interval = 2\n")
    kit = load_kit(str(folder))
    assert Engine(kit).pipeline.levers.names == ("reuse_text", "cache_interval 2")
    fast = Engine(kit, mode=DrawingMode(is_fast=True, compiles=True)).pipeline
    assert fast.levers.names == (
        *("reuse_text", "channels_last", "fused_projections"),
        "cache_interval 2",
    )


def test_an_unknown_lever_of_a_kit_and_offloading_from_a_cpu_are_refused(tmp_path, capsys):
    folder = write_kit(tmp_path / "kit")
    drawing = ["generate", "--kit", str(folder), "--device", "cpu", "--text", "red", "--seed", "1"]
    output = ["--output", str(tmp_path / "a.png"), "--num-inference-steps", "2"]
    assert main([*drawing, *output, "--offload", "model"]) == 2
    assert "moves models away from a GPU, and this kit draws on cpu" in capsys.readouterr().err
    assert main([*drawing, *output, "--fast"]) == 0
    text = (folder / "kit.toml").read_text()
    (folder / "kit.toml").write_text(f"{text}\n[speed]\nwarp = true\n")
    assert main([*drawing, *output]) == 2
    assert "names 'warp'; the levers are" in capsys.readouterr().err


@pytest.mark.parametrize("name", EXPECTED)
def test_the_numbers_of_weights_that_ship_are_those_of_the_shapes(name):
    assert read_shapes(read_kit_file(name))[PARAMETERS] == EXPECTED[name]


@pytest.mark.parametrize(
    ("free_gib", "sd15", "sdxl"),
    [
        (24, "yes; needs 3.7 GiB", "yes; needs 11.7 GiB"),
        (12, "yes; needs 3.7 GiB", "yes; needs 11.7 GiB"),
        (
            10,
            "yes; needs 3.7 GiB",
            "yes, its models take turns (--offload model); needs 8.7 GiB",
        ),
        (8, "yes; needs 3.7 GiB", "slowly, layer by layer (--offload sequential); needs 2.1 GiB"),
        (0.2, "no: needs 0.6 GiB", "no: needs 0.9 GiB"),
    ],
)
def test_doctor_says_what_fits(monkeypatch, free_gib, sd15, sdxl):
    monkeypatch.setattr(doctor, "available_bytes", lambda _: int(free_gib * GIB))
    fits = what_fits(torch.device("cuda"), torch.bfloat16)
    assert fits["sd15"] == fits["sd15-lcm"] == sd15
    assert fits["sdxl"] == sdxl


def test_every_kit_that_draws_at_full_size_has_a_footprint(tmp_path):
    names = {"sd15", "sd15-lcm", "sd15-hyper", "sdxl", "sdxl-turbo", "sdxl-lightning"}
    footprints = full_size_footprints(torch.float16)
    assert names <= footprints.keys()
    whole, small = (footprints[f"sd35-medium{ending}"] for ending in ("", "-clip"))
    assert whole.text_bytes - small.text_bytes == 2 * EXPECTED["sd35-medium"]["text_encoder_3"]
    for name, adapter_mb in (("sd15", 44.6), ("sdxl", 698.4)):  # as the files have in fp16
        styled = footprints[f"{name}-style"]
        assert styled.style_bytes / 1e6 == pytest.approx(adapter_mb, abs=0.1)
        assert styled.style_encoder_bytes / 1e6 == pytest.approx(2528.4 / 2, abs=0.5)
        assert styled.step_models_bytes == footprints[name].step_models_bytes
    assert footprints["sdxl-turbo"].step_bytes * 4 == pytest.approx(footprints["sdxl"].step_bytes)
    assert random_kit("sdxl-turbo", tmp_path).pipeline is not None
