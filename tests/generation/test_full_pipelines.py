"""Pipelines of SD 1.5, SDXL and SD 3.5, from replicas, against diffusers' own."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from generation.families import Family
from generation.generate import generate
from generation.lora import LoraSource
from generation.lora_header import LoraError
from generation.model_files import PipelineSource
from generation.model_folder import PipelineError
from generation.pipeline import ImagePipeline
from generation.request import (
    DrawingSettings,
    GenerateRequest,
    RequestError,
    Scheduler,
    TransferRequest,
)
from generation.transfer import transfer
from generation.word_weights import token_weights, weights_as_read
from tests.generation import tiny
from tests.replicas import checkpoints, clips, loras, pipelines, sd35

pytestmark = pytest.mark.kits

PLAIN = "a red chair with oak legs, studio light"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("replicas")
    clip = clips.write_clip_l14(folder / "clip")
    return {
        "sd15": pipelines.write_sd15(folder / "sd15", clip),
        "sdxl": pipelines.write_sdxl(folder / "sdxl", clip),
        "sd35": sd35.write_sd35(folder / "sd35", clip),
        "sd35-control": sd35.write_sd35_canny(folder / "sd35-control"),
        "sd15-control": pipelines.write_sd15_scribble(folder / "sd15-control"),
        "sdxl-control": pipelines.write_sdxl_scribble(folder / "sdxl-control"),
        "lora": loras.write_lora(folder / "lora.safetensors", pipelines.make_sd_unet()).parent,
    }


def source(folders, name, **changes):
    return PipelineSource(folder=folders[name], text_hash=tiny.TEXT_HASH, **changes)


@pytest.fixture(scope="module", params=["sd15", "sdxl", "sd35", "sd35 without T5"])
def pipeline(request, folders):
    name, _, lacks = request.param.partition(" ")
    return ImagePipeline.load(source(folders, name, without=("text_encoder_3",) if lacks else ()))


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
    others = {"prompt_2": None, "prompt_3": None} if pipeline.family is Family.SD3 else {}
    with torch.no_grad():
        theirs = base.encode_prompt(
            PLAIN, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=True,
            negative_prompt=negative or None, **others,
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
    print(f"{pipeline.family}: largest difference {max(differences.values()):.1e}")  # noqa: T201
    assert max(differences.values()) < 1e-5
    assert all(float(states.std()) > 0.01 for name, states in ours.items() if "neg" not in name)


def test_composed_negative_words_are_read_like_plain_ones(pipeline):
    query = plain_query(pipeline, PLAIN)
    plain = pipeline.condition(query, "blurry, dark")
    composed = pipeline.condition(query, plain_query(pipeline, "blurry, dark"))
    for name, states in plain.items():
        torch.testing.assert_close(states, composed[name], rtol=0, atol=1e-6)
    other = pipeline.condition(query, plain_query(pipeline, "blurry, red"))
    assert not torch.equal(other["negative_prompt_embeds"], plain["negative_prompt_embeds"])


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


def test_a_lora_of_another_family_is_refused(folders, tmp_path):
    foreign = loras.write_lora(tmp_path / "xl.safetensors", pipelines.make_sdxl_unet(8))
    with pytest.raises(LoraError, match=r"xl\.safetensors is a LoRA for a UNet .* of width 72"):
        ImagePipeline.load(source(folders, "sd15", loras=[LoraSource(file=foreign)]))
    save_file({"stranger": torch.zeros(2)}, tmp_path / "stranger.safetensors")
    stranger = LoraSource(file=tmp_path / "stranger.safetensors")
    with pytest.raises(LoraError, match=r"stranger\.safetensors is no LoRA"):
        ImagePipeline.load(source(folders, "sd15", loras=[stranger]))


def test_parts_of_different_families_are_refused(folders):
    for name, other in (("sd15", "sdxl"), ("sdxl", "sd15")):
        with pytest.raises(PipelineError, match="control network expects text of width"):
            ImagePipeline.load(source(folders, name, controlnet=folders[f"{other}-control"]))
    for name, other in (("sd15", "sd35"), ("sd35", "sdxl")):
        with pytest.raises(PipelineError, match=r"is a \w*ControlNetModel, the pipeline takes a"):
            ImagePipeline.load(source(folders, name, controlnet=folders[f"{other}-control"]))


def test_the_kit_names_its_sampler(folders):
    settings = {"class": "EulerDiscreteScheduler", "timestep_spacing": "trailing"}
    pipeline = ImagePipeline.load(source(folders, "sd15", scheduler=settings))
    assert type(pipeline._base.scheduler).__name__ == "EulerDiscreteScheduler"
    pipeline._base.scheduler.set_timesteps(4)
    assert pipeline._base.scheduler.timesteps.tolist() == [999, 749, 499, 249]
    with pytest.raises(PipelineError, match=r"must be one of .*, got 'os'"):
        ImagePipeline.load(source(folders, "sd15", scheduler={"class": "os"}))


def sd35_request(pipeline, *, seed=7, balance=0.5, **settings):
    settings = {"num_inference_steps": 2, "guidance_scale": 4.5, **settings}
    query = replace(plain_query(pipeline, PLAIN), balance=balance)
    return GenerateRequest(
        query=query,
        control_sketch=tiny.make_sketch(),
        settings=DrawingSettings(seed=seed, **settings),
    )


def drawn(pipeline, request):
    return generate(pipeline, request).images[0].image.tobytes()


def test_sd35_draws_the_same_bytes_for_a_seed_and_follows_the_drawing(folders):
    pipeline = ImagePipeline.load(source(folders, "sd35", controlnet=folders["sd35-control"]))
    first = drawn(pipeline, sd35_request(pipeline))
    torch.manual_seed(99)  # the control image's latent is drawn from the global generator
    assert drawn(pipeline, sd35_request(pipeline)) == first
    assert drawn(pipeline, sd35_request(pipeline, seed=8)) != first
    assert drawn(pipeline, sd35_request(pipeline, controlnet_conditioning_scale=0.0)) != first
    source_image = Image.new("RGB", (64, 64), (200, 30, 30))
    moved = TransferRequest(
        query=plain_query(pipeline, PLAIN),
        source=source_image,
        settings=DrawingSettings(num_inference_steps=2),
    )
    assert transfer(pipeline, moved).images[0].image.size == (64, 64)
    with pytest.raises(RequestError, match="cannot follow a drawing while an image is redrawn"):
        transfer(pipeline, replace(moved, control_sketch=tiny.make_sketch()))


def test_t5_reads_the_words_and_nothing_of_the_drawing(folders):
    pipeline = ImagePipeline.load(source(folders, "sd35"))
    query = plain_query(pipeline, PLAIN)
    states = pipeline.condition(query, "")["prompt_embeds"][0]
    changed = query.prompt_embeddings.clone()
    changed[2] = 3.0 * torch.randn(changed.shape[1], generator=torch.Generator().manual_seed(0))
    drawing = replace(query, prompt_embeddings=changed)
    other = pipeline.condition(drawing, "")["prompt_embeds"][0]
    assert torch.equal(other[77:], states[77:])
    assert (other[2, :32] - states[2, :32]).abs().max() > 0.01
    assert (other[2, 32:72] - states[2, 32:72]).abs().max() > 0.01
    words = pipeline.condition(replace(query, text="a blue mug"), "")["prompt_embeds"][0]
    assert torch.equal(words[:77], states[:77])
    assert (words[77:] - states[77:]).abs().max() > 0.01
    assert any("T5 reads the words alone" in note for note in pipeline.notes)


def test_emphasis_weighs_the_states_of_all_encoders(pipeline):
    plain = plain_query(pipeline, "a dark red chair")
    emphasised = replace(plain, word_weights=(1.0, 1.5, 1.0, 1.0), word_sizes=(1,) * 4)
    before, after = (pipeline.condition(query, "") for query in (plain, emphasised))
    states, weighed = before["prompt_embeds"][0], after["prompt_embeds"][0]
    changed = (states != weighed).any(dim=-1).nonzero().flatten().tolist()
    context = pipeline.tokenizer.model_max_length
    tokens = token_weights(emphasised)
    expected = [1 + i for i, weight in enumerate(tokens) if weight != 1]
    if pipeline.family is Family.SD3 and pipeline._base.text_encoder_3 is not None:
        tokens = weights_as_read(emphasised, pipeline._base.tokenizer_3)
        expected += [context + i for i, weight in enumerate(tokens) if weight != 1]
    assert changed == expected
    for name, value in before.items():
        assert name == "prompt_embeds" or torch.equal(value, after[name])
    assert torch.equal(states, pipeline.condition(plain, "")["prompt_embeds"][0])


def test_sd35_refuses_what_it_cannot_draw(folders):
    pipeline = ImagePipeline.load(source(folders, "sd35", without=("text_encoder_3",)))
    with pytest.raises(RequestError, match="multiples of 16 pixels, got 72 x 64"):
        generate(
            pipeline, replace(sd35_request(pipeline, height=64, width=72), control_sketch=None)
        )
    foreign = sd35_request(pipeline, scheduler=Scheduler.UNIPC, controlnet_conditioning_scale=0.0)
    with pytest.raises(RequestError, match="with its own sampler alone, not unipc"):
        generate(pipeline, foreign)
    with pytest.raises(PipelineError, match="must be one of FlowMatchEulerDiscreteScheduler, got"):
        ImagePipeline.load(source(folders, "sd35", scheduler={"class": "DDIMScheduler"}))
    with pytest.raises(PipelineError, match=r"can do without text_encoder_3; .* names 'vae'"):
        ImagePipeline.load(source(folders, "sd35", without=("vae",)))
    with pytest.raises(PipelineError, match="can do without nothing"):
        ImagePipeline.load(source(folders, "sd15", without=("text_encoder_3",)))
    file = folders["lora"] / "lora.safetensors"
    with pytest.raises(PipelineError, match="not from one checkpoint"):
        ImagePipeline.load(source(folders, "sd35", checkpoint=file))


def _break(folder, change: str):
    part = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    match change:
        case "missing shard":
            (folder / "text_encoder_3" / "model.fp16-00002-of-00002.safetensors").unlink()
        case "missing weight" | "extra weight":
            state = load_file(part)
            if change == "missing weight":
                del state["proj_out.weight"]
            else:
                state["stranger"] = torch.zeros(2)
            save_file(state, part)
        case "pickled":
            part.rename(part.with_suffix(".bin"))
        case "truncated":
            part.write_bytes(part.read_bytes()[:-50])
        case "no T5":
            shutil.rmtree(folder / "text_encoder_3")
        case _:
            raise AssertionError(change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("missing shard", "text_encoder_3"),
        ("missing weight", r"lack proj_out\.weight, which would be random"),
        ("extra weight", "hold stranger, which the model does not have"),
        ("pickled", "is not safetensors"),
        ("truncated", "is damaged"),
        ("no T5", r'write without = \["text_encoder_3"\] below \[pipeline\]'),
    ],
)
def test_a_damaged_sd35_is_one_sentence(folders, tmp_path, change, message):
    folder = shutil.copytree(folders["sd35"], tmp_path / "kit")
    _break(folder, change)
    with pytest.raises(PipelineError, match=message) as raised:
        ImagePipeline.load(PipelineSource(folder=folder, text_hash=tiny.TEXT_HASH))
    assert "\n" not in str(raised.value)


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
