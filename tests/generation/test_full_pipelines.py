"""Pipelines of SD 1.5 and SDXL, from replicas of their repositories, against diffusers' own."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from generation import model_files
from generation.model_files import LoraSource, PipelineError, PipelineSource
from generation.pipeline import ImagePipeline
from tests.generation import tiny
from tests.replicas import checkpoints, clips, loras, pipelines

pytestmark = pytest.mark.kits

PLAIN = "a red chair with oak legs, studio light"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("replicas")
    clip = clips.write_clip_l14(folder / "clip")
    return {
        "sd15": pipelines.write_sd15(folder / "sd15", clip),
        "sdxl": pipelines.write_sdxl(folder / "sdxl", clip),
        "sd15-control": pipelines.write_sd15_scribble(folder / "sd15-control"),
        "sdxl-control": pipelines.write_sdxl_scribble(folder / "sdxl-control"),
        "lora": loras.write_lora(folder / "lora.safetensors", pipelines.make_sd_unet()).parent,
    }


def source(folders, name, **changes):
    return PipelineSource(folder=folders[name], text_hash=tiny.TEXT_HASH, **changes)


@pytest.fixture(scope="module", params=["sd15", "sdxl"])
def pipeline(request, folders):
    return ImagePipeline.load(source(folders, request.param))


def plain_query(pipeline, text):
    """A query that is nothing but words."""
    ids = pipeline.tokenizer(text, padding="max_length", max_length=77).input_ids
    table = pipeline.text_encoder.get_input_embeddings().weight
    return tiny.make_query(
        text,
        prompt_embeddings=table[torch.tensor(ids)].detach(),
        pseudo_tokens=torch.zeros(0, table.shape[1]),
        pseudo_positions=(),
        end_position=ids.index(49407),
    )


@pytest.mark.parametrize("negative", ["", "blurry, dark"])
def test_the_states_of_plain_words_are_those_of_diffusers(pipeline, negative):
    base = pipeline._base
    with torch.no_grad():
        theirs = base.encode_prompt(
            PLAIN, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=True,
            negative_prompt=negative or None,
        )  # fmt: skip
    names = ("prompt_embeds", "negative_prompt_embeds")
    if len(theirs) == 4:
        names += ("pooled_prompt_embeds", "negative_pooled_prompt_embeds")
    ours = pipeline.condition(plain_query(pipeline, PLAIN), negative)
    assert set(names) == set(ours)
    differences = {
        name: float((ours[name] - states).abs().max())
        for name, states in zip(names, theirs, strict=True)
    }
    assert max(differences.values()) < 1e-5
    assert float(ours["prompt_embeds"].std()) > 0.1


def test_a_pseudo_word_reaches_both_encoders(folders):
    pipeline = ImagePipeline.load(source(folders, "sdxl"))
    query = plain_query(pipeline, PLAIN)
    before = pipeline.condition(query, "")
    changed = query.prompt_embeddings.clone()
    changed[2] = 3.0 * torch.randn(changed.shape[1], generator=torch.Generator().manual_seed(0))
    after = pipeline.condition(
        tiny.make_query(
            PLAIN,
            prompt_embeddings=changed,
            pseudo_tokens=changed[2:3],
            pseudo_positions=(2,),
            end_position=query.end_position,
        ),
        "",
    )
    difference = (after["prompt_embeds"] - before["prompt_embeds"])[0].abs()
    assert difference[:2].max() < 1e-5  # earlier tokens see nothing of it
    assert difference[2, :32].max() > 0.01
    assert difference[2, 32:].max() > 0.01
    assert (after["pooled_prompt_embeds"] - before["pooled_prompt_embeds"]).abs().max() > 1e-4
    assert pipeline.notes


def test_the_autoencoder_and_the_text_encoder_load_under_their_old_names(folders):
    vae = folders["sd15"] / "vae" / "diffusion_pytorch_model.fp16.safetensors"
    stored = load_file(vae)
    assert any(name.endswith("attentions.0.query.weight") for name in stored)
    pipeline = ImagePipeline.load(source(folders, "sd15"))
    loaded = pipeline._base.vae.state_dict()
    name = "decoder.mid_block.attentions.0"
    assert torch.equal(loaded[f"{name}.to_q.weight"], stored[f"{name}.query.weight"].float())
    assert pipeline._base.vae.config.scaling_factor == 0.18215


def test_a_lora_is_added_to_every_layer_that_it_names(folders):
    file = folders["lora"] / "lora.safetensors"
    plain = ImagePipeline.load(source(folders, "sd15"))
    merged = ImagePipeline.load(source(folders, "sd15", loras=[LoraSource(file=file, scale=0.5)]))
    assert merged.weights_hash != plain.weights_hash
    before, after = plain._base.unet.state_dict(), merged._base.unet.state_dict()
    assert before.keys() == after.keys()
    lora = load_file(file)
    stems = [name.removesuffix(".alpha") for name in lora if name.endswith(".alpha")]
    checked = 0
    for name in before:
        stem = "lora_unet_" + name.removesuffix(".weight").replace(".", "_")
        if stem not in stems or not name.endswith(".weight"):
            assert torch.equal(before[name], after[name])
            continue
        up, down = (lora[f"{stem}.lora_{which}.weight"].float() for which in ("up", "down"))
        delta = (up.flatten(1) @ down.flatten(1)).view(before[name].shape)
        torch.testing.assert_close(after[name], before[name] + 0.5 * delta, rtol=1e-3, atol=1e-3)
        checked += 1
    assert checked == len(stems) > 60


def test_a_lora_of_another_family_is_refused(folders, tmp_path, monkeypatch):
    foreign = loras.write_lora(tmp_path / "xl.safetensors", pipelines.make_sdxl_unet(8))
    with pytest.raises(PipelineError, match=r"xl\.safetensors .*is for another family"):
        ImagePipeline.load(source(folders, "sd15", loras=[LoraSource(file=foreign)]))
    save_file({"stranger": torch.zeros(2)}, tmp_path / "stranger.safetensors")
    stranger = LoraSource(file=tmp_path / "stranger.safetensors")
    with pytest.raises(PipelineError, match=r"LoRA stranger\.safetensors"):
        ImagePipeline.load(source(folders, "sd15", loras=[stranger]))
    monkeypatch.setattr(model_files, "find_spec", lambda name: None)
    with pytest.raises(PipelineError, match=r"duet-studio\[peft\]"):
        ImagePipeline.load(source(folders, "sd15", loras=[LoraSource(file=foreign)]))


def test_parts_of_different_families_are_refused(folders):
    for name, other in (("sd15", "sdxl"), ("sdxl", "sd15")):
        with pytest.raises(PipelineError, match="control network expects text of width"):
            ImagePipeline.load(source(folders, name, controlnet=folders[f"{other}-control"]))


def test_the_kit_names_its_sampler(folders):
    settings = {"class": "EulerDiscreteScheduler", "timestep_spacing": "trailing"}
    pipeline = ImagePipeline.load(source(folders, "sd15", scheduler=settings))
    assert type(pipeline._base.scheduler).__name__ == "EulerDiscreteScheduler"
    pipeline._base.scheduler.set_timesteps(4)
    assert pipeline._base.scheduler.timesteps.tolist() == [999, 749, 499, 249]
    with pytest.raises(PipelineError, match=r"must be one of .*, got 'os'"):
        ImagePipeline.load(source(folders, "sd15", scheduler={"class": "os"}))


def test_a_tokenizer_that_is_larger_than_the_token_table_is_refused(folders, tmp_path):
    shutil.copytree(folders["sd15"], tmp_path / "kit")
    file = tmp_path / "kit" / "tokenizer" / "vocab.json"
    names = [*json.loads(file.read_text())][:-2]  # the special tokens then get further ids
    names += ["<start_of_text>", "<end_of_text>"]
    file.write_text(json.dumps({name: i for i, name in enumerate(names)}))
    with pytest.raises(PipelineError, match="has 49410 entries, its token table 49408"):
        ImagePipeline.load(PipelineSource(folder=tmp_path / "kit", text_hash=tiny.TEXT_HASH))


def test_a_single_checkpoint_gives_the_weights_of_its_models(folders, tmp_path):
    clip = clips.write_clip_l14(tmp_path / "clip")
    file = checkpoints.write_checkpoint(tmp_path / "painter.safetensors", clip, seed=3)
    torch.manual_seed(3)
    unet, vae = pipelines.make_sd_unet().state_dict(), pipelines.make_vae({}).state_dict()
    pipeline = ImagePipeline.load(source(folders, "sd15", checkpoint=file))
    for expected, model in ((unet, pipeline._base.unet), (vae, pipeline._base.vae)):
        loaded = model.state_dict()
        assert loaded.keys() == expected.keys()
        for name, tensor in expected.items():
            torch.testing.assert_close(loaded[name], tensor)
    text = load_file(clip / "model.safetensors")
    for name, tensor in pipeline.text_encoder.state_dict().items():
        assert torch.equal(tensor, text[f"text_model.{name.removeprefix('text_model.')}"])


def test_a_damaged_checkpoint_is_one_sentence(folders, tmp_path):
    clip = clips.write_clip_l14(tmp_path / "clip")
    file = checkpoints.write_checkpoint(tmp_path / "painter.safetensors", clip)
    state = load_file(file)
    del state["model.diffusion_model.middle_block.0.in_layers.2.weight"]
    save_file(state, file)
    with pytest.raises(PipelineError, match=r"painter\.safetensors|unet"):
        ImagePipeline.load(source(folders, "sd15", checkpoint=file))
    file.write_bytes(file.read_bytes()[:-50])
    with pytest.raises(PipelineError, match="is damaged"):
        ImagePipeline.load(source(folders, "sd15", checkpoint=file))
