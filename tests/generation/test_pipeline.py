import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from generation.conditioning import token_table
from generation.model_files import PipelineSource
from generation.model_folder import PipelineError
from generation.pipeline import ImagePipeline
from generation.request import RequestError
from tests.generation import tiny


@pytest.fixture(scope="module")
def folder(base_pipeline, tmp_path_factory):
    folder = tmp_path_factory.mktemp("kit") / "pipeline"
    base_pipeline.save_pretrained(folder)
    tiny.make_controlnet(base_pipeline.unet).save_pretrained(folder.parent / "controlnet")
    return folder


def test_a_saved_kit_opens_and_stock_diffusers_opens_it_too(folder, base_pipeline, capfd):
    import diffusers

    source = PipelineSource(
        folder=folder, controlnet=folder.parent / "controlnet", text_hash=tiny.TEXT_HASH
    )
    pipeline = ImagePipeline.load(source)
    assert capfd.readouterr().err == ""  # no bars
    assert pipeline.has_control
    assert pipeline.native_size_px == 64
    pipeline.check_token_table(token_table(base_pipeline.text_encoder))
    stock = diffusers.DiffusionPipeline.from_pretrained(folder, local_files_only=True)
    assert type(stock).__name__ == "StableDiffusionPipeline"


def test_the_text_tower_must_be_named(folder):
    with pytest.raises(PipelineError, match="does not say which CLIP text tower"):
        ImagePipeline.load(PipelineSource(folder=folder))


def test_the_declared_text_tower_wins(folder):
    path = folder / "text_encoder" / "config.json"
    before = path.read_text()
    path.write_text(json.dumps(json.loads(before) | {"duet_text_hash": "abc"}))
    try:
        assert ImagePipeline.load(PipelineSource(folder=folder)).text_hash == "abc"
        with pytest.raises(PipelineError, match="carries text tower abc, the kit's CLIP has xyz"):
            ImagePipeline.load(PipelineSource(folder=folder, text_hash="xyz"))
    finally:
        path.write_text(before)


def test_pickles_and_strangers_are_refused(tmp_path, folder):
    with pytest.raises(PipelineError, match="no model folder"):
        ImagePipeline.load(PipelineSource(folder=tmp_path / "none"))
    with pytest.raises(PipelineError, match=r"has no model_index\.json"):
        ImagePipeline.load(PipelineSource(folder=tmp_path))
    kit = tmp_path / "kit"
    shutil.copytree(folder, kit)
    weights = kit / "unet" / "diffusion_pytorch_model.safetensors"
    weights.unlink()
    with pytest.raises(PipelineError, match=r"There are no \.safetensors weights in .*unet"):
        ImagePipeline.load(PipelineSource(folder=kit))
    weights.with_suffix(".bin").write_bytes(b"")
    with pytest.raises(PipelineError, match=r"model\.bin is not safetensors"):
        ImagePipeline.load(PipelineSource(folder=kit))
    (kit / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
    with pytest.raises(PipelineError, match="StableDiffusion3Pipeline, got FluxPipeline"):
        ImagePipeline.load(PipelineSource(folder=kit))
    (kit / "model_index.json").write_text("[]")
    with pytest.raises(PipelineError, match=r"model_index\.json is damaged"):
        ImagePipeline.load(PipelineSource(folder=kit))


def _without(state, name):
    return {key: tensor for key, tensor in state.items() if key != name}


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_weights_that_would_be_random_or_are_another_models_are_refused(tmp_path, folder, part):
    (file,) = (folder / part).glob("*.safetensors")
    state = load_file(file)
    name = min(name for name in state if name.endswith("bias"))
    for changed, sentence in (
        (_without(state, name), f"lack .*{name.split('.')[-2]}.bias, which would be random"),
        (state | {name: torch.zeros(3)}, f"weights of {part} do not fit|cannot be opened"),
        (state | {"stranger.weight": torch.zeros(3)}, "hold stranger.weight, which the model does"),
    ):
        kit = tmp_path / sentence[:5]
        shutil.copytree(folder, kit)
        save_file(changed, kit / part / file.name, metadata={"format": "pt"})
        with pytest.raises(PipelineError, match=sentence):
            ImagePipeline.load(PipelineSource(folder=kit, text_hash=tiny.TEXT_HASH))


def test_a_truncated_file_is_one_sentence(tmp_path, folder):
    kit = tmp_path / "kit"
    shutil.copytree(folder, kit)
    (file,) = (kit / "vae").glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(PipelineError, match="is damaged"):
        ImagePipeline.load(PipelineSource(folder=kit, text_hash=tiny.TEXT_HASH))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompt_embeddings": torch.zeros(12, 16)}, r"text encoder's width \(32\), got 16"),
        (
            {"prompt_embeddings": torch.zeros(9, 32)},
            "a multiple of that up to 12, got 9",
        ),
        ({"text_hash": "ffffffffffffffff"}, "text tower ffffffffffffffff"),
        ({"prompt_embeddings": torch.full((12, 32), torch.nan)}, "not finite"),
    ],
)
def test_foreign_queries_are_refused(pipeline, change, message):
    query = tiny.make_query()
    for name, value in change.items():  # past the constructor's own checks, as a file might
        object.__setattr__(query, name, value)
    with pytest.raises(RequestError, match=message):
        pipeline.check_query(query)


def test_another_token_table_is_refused(pipeline):
    table = token_table(pipeline.text_encoder)
    with pytest.raises(PipelineError, match="differs from the CLIP's by"):
        pipeline.check_token_table(table + 0.1)
    pipeline.check_token_table(table * 1.019)
    with pytest.raises(PipelineError, match="differs from the CLIP's by 2% in 100% of its words"):
        pipeline.check_token_table(table / 1.021)
    with pytest.raises(PipelineError, match="one text encoder"):
        pipeline.check_token_table(table[:-1])
    moved = table.clone()
    moved[:100] *= 1.1
    with pytest.raises(PipelineError, match=r"by 9% in 19% of its words"):
        pipeline.check_token_table(moved)


def test_rounding_and_a_word_of_its_own_leave_a_token_table_the_same(pipeline):
    table = token_table(pipeline.text_encoder)
    pipeline.check_token_table(table.bfloat16().float())
    changed = table.clone()
    changed[300] = 1.0
    pipeline.check_token_table(changed)


@pytest.mark.parametrize("part", ["unet", "vae", "controlnet"])
def test_the_hash_is_of_the_values_of_all_weights(tmp_path, part):
    base = tiny.make_pipeline(tmp_path)
    controlnet = tiny.make_controlnet(base.unet)
    before = ImagePipeline.from_parts(base, controlnet, tiny.TEXT_HASH).weights_hash
    assert len(before) == 16
    module = controlnet if part == "controlnet" else getattr(base, part)
    with torch.no_grad():
        next(iter(module.parameters())).view(-1)[0] += 1
    assert ImagePipeline.from_parts(base, controlnet, tiny.TEXT_HASH).weights_hash != before


def test_damaged_weights_are_refused(tmp_path):
    base = tiny.make_pipeline(tmp_path)
    with torch.no_grad():
        base.unet.conv_in.weight[0, 0, 0, 0] = torch.nan
    with pytest.raises(PipelineError, match=r"conv_in\.weight is not finite"):
        ImagePipeline.from_parts(base, None, tiny.TEXT_HASH)
