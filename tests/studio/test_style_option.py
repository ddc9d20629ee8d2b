"""`--style-image` with the shipped kits that have an IP-Adapter, from replicas."""

import pytest
from PIL import Image

from generation.provenance import read_png
from studio.kit_contents import KitError
from studio.kit_file import embedded_kits, read_kit_file
from tests.pictures import noise
from tests.replicas.adapters import IP_ADAPTER, write_ip_adapter
from tests.replicas.clips import CLIP_L14, write_clip_l14
from tests.replicas.layout import read_folder
from tests.replicas.pipelines import SD15, SD15_SCRIBBLE, write_sd15, write_sd15_scribble
from tests.studio.kit_world import duet, kit_world
from tests.studio.test_lora_option import said
from tests.studio.test_rerun import change

pytestmark = pytest.mark.kits


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    for seed in (1, 2):
        noise((40, 40), 40, seed=seed).convert("RGB").save(folder / f"style-{seed}.png")
    clip = write_clip_l14(folder / "clip")
    repositories = {
        CLIP_L14: read_folder(clip),
        SD15: read_folder(write_sd15(folder / "sd15", clip)),
        SD15_SCRIBBLE: read_folder(write_sd15_scribble(folder / "scribble")),
        IP_ADAPTER: read_folder(write_ip_adapter(folder / "ip-adapter")),
    }
    with kit_world(folder, repositories) as hub:
        hub.folder = folder
        assert duet("kits", "fetch", "sd15-style", "--yes") == 0
        yield hub


def generate(world, output, *options, kit="sd15-style"):
    """Draw from a drawing and a word; the search for its tokens takes most of the time."""
    drawn = ("--num-inference-steps", 2, "--seed", 5, "--kit", kit, "--composer", "inversion")
    return duet("generate", "--text", "red", *drawn, "--output", output, *options)


def test_only_the_files_that_the_kit_names_are_downloaded(world):
    paths = [path for path in world.requests if "h94/IP-Adapter/resolve" in path]
    names = {path.partition("/resolve/")[2].partition("/")[2] for path in paths}
    assert names == set(read_kit_file("sd15-style").ip_adapter.part.location.patterns)


def test_a_picture_is_recorded_and_a_rerun_asks_for_the_very_same(world, tmp_path, capsys):
    style, image, again = world.folder / "style-1.png", tmp_path / "out.png", tmp_path / "again.png"
    assert generate(world, image, "--style-image", f"{style}:0.8") == 0
    fields = read_png(image).fields["style"]
    assert fields["scale"] == 0.8
    assert len(fields["adapter_sha256"]) == 64
    capsys.readouterr()
    rerun = ("rerun", image, "--output", again)
    assert duet(*rerun) == 2
    assert "was drawn with a style image; give it: --style-image IMAGE" in said(capsys)
    assert duet(*rerun, "--style-image", world.folder / "style-2.png") == 2
    assert "is not the one that the image was drawn with" in said(capsys)
    assert duet(*rerun, "--style-image", style, "--kit", "sd15") == 2
    assert "than that of the kit 'sd15'; choose the kit that drew it" in said(capsys)
    other = change(image, tmp_path / "other.png", style={**fields, "adapter_sha256": "0" * 64})
    assert duet("rerun", other, "--output", again, "--style-image", style) == 2
    assert "was drawn with another IP-Adapter than that of the kit" in said(capsys)
    damaged = change(image, tmp_path / "damaged.png", style=[1])
    assert duet("rerun", damaged, "--output", again, "--style-image", style) == 2
    assert "provenance is damaged" in said(capsys)
    assert duet(*rerun, "--style-image", style) == 0
    with Image.open(image) as one, Image.open(again) as other_one:
        assert one.tobytes() == other_one.tobytes()


def test_bad_options_are_one_sentence(world, tmp_path, capsys):
    style, image = world.folder / "style-1.png", tmp_path / "out.png"
    for options, kit, sentence in (
        ((style,), "sd15", "The kit 'sd15' has no IP-Adapter, so it takes no --style-image."),
        ((style,), "mini", "The kit 'mini' has no IP-Adapter"),
        ((f"{style}:much",), "sd15-style", "must be a number, such as style-1.png:0.8, got 'much'"),
        ((f"{style}:3",), "sd15-style", "`ip_adapter_scale` must be a number from 0 to 2, got 3"),
        ((tmp_path / "none.png",), "sd15-style", "none.png"),
    ):
        assert generate(world, image, "--style-image", *options, kit=kit) == 2
        assert sentence in said(capsys)
        assert not image.exists()


def test_the_picture_is_never_written_over(world, capsys):
    style = world.folder / "style-1.png"
    before = style.read_bytes()
    assert generate(world, style, "--style-image", f"{style}:0.5", "--overwrite") == 2
    assert "style-1.png" in said(capsys)
    assert style.read_bytes() == before


def test_a_kit_file_must_name_the_image_encoder(tmp_path):
    (tmp_path / "kit.toml").write_text(
        'base = "sd15"\nname = "mine"\n[ip_adapter]\npath = "adapter"\nadapter = "a.safetensors"\n'
    )
    with pytest.raises(KitError, match=r"reads pictures through the image encoder .* name its"):
        read_kit_file(str(tmp_path))


@pytest.mark.parametrize("name", [name for name in embedded_kits() if name.endswith("-style")])
def test_what_a_style_kit_names_is_among_its_files(name):
    part = read_kit_file(name).ip_adapter
    patterns = part.part.location.patterns
    assert part.adapter in patterns
    assert f"{part.image_encoder}/model.safetensors" in patterns
