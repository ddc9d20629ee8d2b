"""Kits on disk."""

from dataclasses import replace
from pathlib import Path

import pytest

from composer.kit_parts import ComposerFiles
from studio.commands.options import KitOptions
from studio.commands.shared import open_engine
from studio.kit_contents import KitError, KitPart
from studio.kit_file import read_kit_file
from studio.kits import Kit, Lora, load_kit
from tests.studio.tiny import write_kit


def test_a_kit_is_read_from_its_folder(tmp_path):
    kit = load_kit(str(write_kit(tmp_path)))
    assert (kit.name, kit.backbone) == ("tiny", tmp_path / "clip")
    weights = tmp_path / "composers/duet.safetensors"
    assert kit.composers == {
        "duet": ComposerFiles(weights=weights),
        "slerp": ComposerFiles(weights=weights, settings={"alpha": 0.7}),
    }
    assert kit.pipeline is None


def test_a_damaged_kit_and_a_missing_part_are_reported(tmp_path):
    folder = write_kit(tmp_path / "kit")
    (folder / "composers/duet.safetensors").unlink()
    with pytest.raises(KitError, match=r"lacks .*duet\.safetensors"):
        load_kit(str(folder))
    for text in ("name = ", "[backbone]\npath = 3", 'name = "x"\n[backbone]\n'):
        (folder / "kit.toml").write_text(text)
        with pytest.raises(KitError, match="is damaged"):
            load_kit(str(folder))


def write_based(folder: Path, text: str) -> str:
    folder.mkdir(exist_ok=True)
    (folder / "kit.toml").write_text(text)
    return str(folder)


def test_a_kit_based_on_another_changes_what_it_names(tmp_path):
    base = write_kit(tmp_path / "base")
    name = write_based(
        tmp_path / "child", f'base = "{base}"\nname = "child"\n[composers.slerp]\nalpha = 0.2\n'
    )
    kit = load_kit(name)
    assert (kit.name, kit.knows) == ("child", "It knows nothing.")
    assert kit.backbone == base / "clip"
    assert kit.composers["slerp"].weights == base / "composers/duet.safetensors"
    assert kit.composers["slerp"].settings == {"alpha": 0.2}


def test_a_kit_of_ones_own_replaces_a_part_of_a_shipped_one(tmp_path):
    (tmp_path / "clip").mkdir()
    text = 'base = "sd15"\nname = "mine"\n[backbone]\npath = "clip"\n'
    text += "[drawing]\nstrength = 0.4\n"
    file = read_kit_file(write_based(tmp_path, text))
    assert file.clip == KitPart(location=tmp_path / "clip")
    assert [source.repository for source in file.sources] == [
        "stable-diffusion-v1-5/stable-diffusion-v1-5",
        "lllyasviel/control_v11p_sd15_scribble",
    ]
    assert (file.drawing.strength, file.drawing.guidance_scale) == (0.4, 7.5)


def test_a_checkpoint_replaces_the_weights_of_its_base(tmp_path):
    (tmp_path / "painter.safetensors").write_bytes(b"")
    text = 'base = "sd15"\nname = "mine"\n[pipeline]\ncheckpoint = "painter.safetensors"\n'
    file = read_kit_file(write_based(tmp_path, text))
    assert file.checkpoint == tmp_path / "painter.safetensors"
    assert "unet/config.json" in file.sources[1].patterns
    assert not any(pattern.endswith(".safetensors") for pattern in file.sources[1].patterns)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('base = "."\nname = "x"\n', "is based on itself"),
        ('base = "nowhere"\nname = "x"\n', "is based on 'nowhere', which is no kit"),
        ('name = "x"\n[backbone]\nrepository = "a/b"\nfiles = ["*.bin"]\n', "not downloaded"),
        ('name = "x"\n[backbone]\nrepository = "a/b"\nfiles = ["x.json"]\n', "is damaged"),
        ('base = "sd15"\nname = "x"\n[drawing]\nsteps = 3\n', "is damaged"),
    ],
)
def test_a_kit_file_that_contradicts_itself_is_one_sentence(tmp_path, text, sentence):
    with pytest.raises(KitError, match=sentence):
        read_kit_file(write_based(tmp_path, text))


def test_a_finisher_is_named_in_the_kit_file_and_left_out_by_a_kit_of_few_steps(tmp_path):
    base = write_kit(tmp_path / "base")
    (base / "jump.safetensors").write_bytes(b"")
    text = '[drawing]\nfinish_noise = 0.4\n[finish]\npath = "jump.safetensors"\nscale = 0.9\n'
    with (base / "kit.toml").open("a") as file:
        file.write(text)
    kit = load_kit(str(base))
    assert kit.finish == Lora(file=base / "jump.safetensors", scale=0.9)
    assert kit.drawing.finish_noise == 0.4
    child = f'base = "{base}"\nname = "child"\n[drawing]\nfinish_noise = 0.0\n'
    assert load_kit(write_based(tmp_path / "child", child)).drawing.finish_noise == 0.0
    (base / "jump.safetensors").unlink()
    with pytest.raises(KitError, match=r"lacks .*jump\.safetensors"):
        load_kit(str(base))


def test_control_networks_are_named_in_the_kit_file(tmp_path):
    for folder in ("clip", "pipeline", "scribble", "thin"):
        (tmp_path / folder).mkdir()
    text = (
        'name = "own"\n[backbone]\npath = "clip"\n[pipeline]\npath = "pipeline"\n'
        '[controlnet]\npath = "scribble"\n'
        '[controls.ink]\npath = "thin"\nkind = "lineart"\n'
        '[controls.depth]\npath = "thin"\n'
    )
    (tmp_path / "kit.toml").write_text(text)
    kit = load_kit(str(tmp_path))
    assert kit.control_names == ("scribble", "ink", "depth")
    assert kit.line_controls == ("scribble", "ink")
    assert [kit.find_control(name) for name in ("", "scribble", "ink")] == ["", "", "ink"]
    with pytest.raises(
        KitError, match="no control network 'pose'; choose one of: scribble, ink, d"
    ):
        kit.find_control("pose")
    for wrong, sentence in (
        (text.replace("[controls.ink]", "[controls.scribble]"), "name of the default control"),
        (text.replace('kind = "lineart"', 'kind = "pose"'), "pose"),
    ):
        (tmp_path / "kit.toml").write_text(wrong)
        with pytest.raises(KitError, match=sentence):
            load_kit(str(tmp_path))
    bare = replace(kit, controlnet=None, controls={})
    with pytest.raises(KitError, match="has no control networks"):
        bare.find_control("canny")


def test_fast_means_the_kit_that_another_names_for_it(tmp_path):
    kit = write_kit(tmp_path / "kit")
    file = kit / "kit.toml"
    file.write_text('fast = "../quick"\n' + file.read_text())
    (tmp_path / "quick").mkdir()
    (tmp_path / "quick/kit.toml").write_text(
        'base = "../kit"\nname = "quick"\n[drawing]\nnum_inference_steps = 1\n'
    )

    def opened(fast: bool) -> Kit:
        options = KitOptions(kit=str(kit), device="cpu", dtype="fp32", fast=fast)
        return open_engine(options).kit

    assert opened(fast=False).name != "quick"
    assert opened(fast=True).name == "quick"
    assert opened(fast=True).drawing.num_inference_steps == 1
    file.write_text(file.read_text().replace("../quick", "../gone"))
    with pytest.raises(KitError, match="gone"):
        opened(fast=True)
