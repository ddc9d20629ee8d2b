from composer.backbone import Backbone
from composer.data.catalogue import CataloguePack
from generation.sketchbook import Sketchbook
from generation.training.sketchbook import main, make_sketchbook
from tests.generation.training import world


def test_the_command_writes_the_drawings_of_train_designs_and_says_how_they_are_found(
    sources, tmp_path, capsys
):
    folder = world.write_pack(tmp_path, has_views=True)
    file = tmp_path / "book.safetensors"
    arguments = ["--data", folder, "--clip", sources.clip, "--output", file]
    assert main([str(argument) for argument in arguments]) == 0
    said = capsys.readouterr().out.splitlines()
    pack = CataloguePack.open(folder)
    train = [item.design for item in pack.items if item.split == "train"]
    validation = {item.design for item in pack.items if item.split == "validation"}
    assert said[0] == f"{len(set(train))} drawings of 2 kinds"
    assert [line.split(":")[0] for line in said[1:]] == [
        "captions of validation designs", "short texts of validation designs",
    ]  # fmt: skip
    assert all(line.endswith(f"of {len(validation)} right") for line in said[1:])
    book, made = Sketchbook.load(file), make_sketchbook(pack, Backbone.load(sources.clip))
    assert book.kinds == made.kinds
    assert all(0 <= stroke.min() <= stroke.max() <= 1 for one in book.drawings
               for stroke in one.strokes or ())  # fmt: skip
