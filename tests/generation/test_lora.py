"""LoRA files of all public styles, merged into replicas, against the sum by hand."""

import pytest
import torch
from safetensors.torch import save_file

from generation.lora import LoraSource, merge_lora
from generation.lora_header import LoraError
from generation.model_files import PipelineSource, check_loras, open_models
from tests.replicas import clips, loras, pipelines, sd35

pytestmark = pytest.mark.kits
PARTS = ("unet", "text_encoder", "text_encoder_2")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("replicas")
    clip = clips.write_clip_l14(folder / "clip")
    return {
        "sd15": pipelines.write_sd15(folder / "sd15", clip),
        "sdxl": pipelines.write_sdxl(folder / "sdxl", clip),
        "sd35": sd35.write_sd35(folder / "sd35", clip),
    }


@pytest.fixture(scope="module")
def bases(folders):
    return {
        name: open_models(PipelineSource(folder=folder), torch.float32).base
        for name, folder in folders.items()
    }


@pytest.fixture
def sd15(bases):
    yield from restored(bases["sd15"])


@pytest.fixture
def sdxl(bases):
    yield from restored(bases["sdxl"])


def restored(base):
    """Lend a pipeline and give its models their weights back."""
    before = weights(base)
    yield base
    for part, state in before.items():
        getattr(base, part).load_state_dict(state)


def weights(base):
    models = {part: getattr(base, part, None) for part in PARTS}
    return {
        part: {name: tensor.clone() for name, tensor in model.state_dict().items()}
        for part, model in models.items()
        if model is not None
    }


def product(factors):
    down, up = (one.float().flatten(1) for one in factors)
    return up @ down


def check_sum(base, before, part, layers, strength):
    """Check one model: the named layers have their product added, all others are untouched."""
    after = getattr(base, part).state_dict()
    assert after.keys() == before[part].keys()
    is_flat = not any(name.startswith("text_model.") for name in after)
    names = {name.removeprefix("text_model.") if is_flat else name: name for name in layers}
    added = 0
    for name, tensor in before[part].items():
        layer = names.get(name.removesuffix(".weight"))
        if layer is None or not name.endswith(".weight"):
            assert torch.equal(tensor, after[name]), name
            continue
        expected = tensor + strength(layer) * product(layers[layer]).view(tensor.shape)
        torch.testing.assert_close(after[name], expected, rtol=1e-4, atol=1e-4)
        assert not torch.equal(after[name], tensor)
        added += 1
    assert added == len(layers) > 0


def test_a_file_of_kohyas_trainer_keeps_the_alpha_of_each_layer(sd15, tmp_path):
    unet, text = loras.unet_factors(sd15.unet), loras.text_factors(sd15.text_encoder)
    file = loras.write_kohya(tmp_path / "ink.safetensors", unet, text)
    number = {name: i for i, name in enumerate([*unet, *text])}
    before = weights(sd15)
    merged = merge_lora(sd15, LoraSource(file=file, scale=0.5))

    def strength(layer):
        return 0.5 * (number[layer] % 3 + 1) / 2  # its alpha over its rank

    check_sum(sd15, before, "unet", unet, strength)
    check_sum(sd15, before, "text_encoder", text, strength)
    assert (merged.name, merged.scale, len(merged.sha256)) == ("ink.safetensors", 0.5, 64)


@pytest.mark.parametrize("alpha", [None, 6.0])
def test_a_file_of_diffusers_keeps_the_alpha_in_its_metadata(sd15, tmp_path, alpha):
    unet, text = loras.unet_factors(sd15.unet), loras.text_factors(sd15.text_encoder)
    file = loras.write_diffusers(tmp_path / "ink.safetensors", unet, text, alpha=alpha)
    before = weights(sd15)
    merge_lora(sd15, LoraSource(file=file, scale=-0.5))
    strength = -0.5 if alpha is None else -0.5 * alpha / 2
    check_sum(sd15, before, "unet", unet, lambda _: strength)
    check_sum(sd15, before, "text_encoder", text, lambda _: strength)


@pytest.mark.parametrize("prefix", ["unet.", ""])
def test_a_file_of_attention_processors_is_read_with_and_without_a_prefix(sd15, tmp_path, prefix):
    unet = {
        name: factors
        for name, factors in loras.unet_factors(sd15.unet).items()
        if ".attn" in name and not name.endswith("attentions")
    }
    file = loras.write_old_diffusers(tmp_path / "ink.safetensors", unet, prefix)
    before = weights(sd15)
    merge_lora(sd15, LoraSource(file=file))
    check_sum(sd15, before, "unet", unet, lambda _: 1.0)


def test_sdxl_takes_the_names_of_its_first_code(sdxl, tmp_path):
    unet = loras.unet_factors(sdxl.unet)
    file = loras.write_sgm(tmp_path / "ink.safetensors", unet)
    number = {name: i for i, name in enumerate(unet)}
    before = weights(sdxl)
    merge_lora(sdxl, LoraSource(file=file))
    check_sum(sdxl, before, "unet", unet, lambda layer: (number[layer] % 3 + 1) / 2)


def test_sdxl_takes_both_text_encoders(sdxl, tmp_path):
    unet, first, second = (
        loras.unet_factors(sdxl.unet, rank=4),
        loras.text_factors(sdxl.text_encoder, seed=1),
        loras.text_factors(sdxl.text_encoder_2, seed=2),
    )
    file = loras.write_kohya(tmp_path / "ink.safetensors", unet, first, second, alpha=lambda _: 4)
    before = weights(sdxl)
    merge_lora(sdxl, LoraSource(file=file, scale=2.0))
    check_sum(sdxl, before, "unet", unet, lambda _: 2.0)
    check_sum(sdxl, before, "text_encoder", first, lambda _: 4.0)
    check_sum(sdxl, before, "text_encoder_2", second, lambda _: 4.0)


def test_a_transformer_takes_a_file_of_its_own(folders, bases, tmp_path):
    base = bases["sd35"]
    block = base.transformer.transformer_blocks[0].attn
    factors = {
        f"transformer_blocks.0.attn.{name}": (torch.randn(2, layer.in_features),
                                              torch.randn(layer.out_features, 2))
        for name, layer in (("to_q", block.to_q), ("to_k", block.to_k))
    }  # fmt: skip
    file = loras.write_diffusers(tmp_path / "ink.safetensors", factors, {}, part="transformer")
    check_loras([LoraSource(file=file)], folders["sd35"])
    before = block.to_q.weight.clone()
    merge_lora(base, LoraSource(file=file, scale=0.5))
    expected = before + 0.5 * product(factors["transformer_blocks.0.attn.to_q"])
    torch.testing.assert_close(base.transformer.transformer_blocks[0].attn.to_q.weight, expected)


def foreign(file, **shapes):
    """A file with a few tensors of the given shapes; two underscores stand for a point."""
    save_file({name.replace("__", "."): torch.zeros(shape) for name, shape in shapes.items()}, file)
    return file


@pytest.mark.parametrize(
    ("shapes", "kit", "sentence"),
    [
        (
            {"lora_unet_up_blocks_1_attentions_0_attn2_to_k__lora_down__weight": (4, 2048)},
            "sd15",
            r"LoRA for Stable Diffusion XL, which reads text of width 2048; the kit draws with a "
            "UNet that reads text of width 32",
        ),
        (
            {"unet__up_blocks__1__attn2__processor__to_v_lora__down__weight": (4, 768)},
            "sdxl",
            r"LoRA for Stable Diffusion 1\.x, which reads .* a UNet that reads text of width 72",
        ),
        (
            {"lora_unet_double_blocks_0_img_attn_qkv__lora_down__weight": (4, 32)},
            "sd15",
            "is a LoRA for FLUX or a model like it; the kit draws with a UNet",
        ),
        (
            {"transformer__single_transformer_blocks__0__proj_out__lora_A__weight": (4, 32)},
            "sdxl",
            "is a LoRA for FLUX or a model like it",
        ),
        (
            {"transformer__transformer_blocks__0__attn__add_k_proj__lora_A__weight": (4, 32)},
            "sdxl",
            "is a LoRA for Stable Diffusion 3;",
        ),
        (
            {"diffusion_model__layers__0__attention__qkv__lora_A__weight": (4, 32)},
            "sdxl",
            "is a LoRA for a transformer;",
        ),
        (
            {"lora_te_text_model_encoder_layers_0_mlp_fc1__lora_down__weight": (4, 32)},
            "sd15",
            "is a LoRA for text encoders alone; the kit draws with a UNet",
        ),
        (
            {"lora_unet_down_blocks_0_attentions_0_proj_in__hada_w1_a": (4, 8)},
            "sd15",
            "is a LoHa, which is not supported; the kit takes plain LoRAs",
        ),
        (
            {
                "lora_unet_mid_block_attentions_0_proj_in__lora_down__weight": (4, 16),
                "lora_unet_mid_block_attentions_0_proj_in__dora_scale": (4, 16),
            },
            "sd15",
            "is a DoRA, which is not supported",
        ),
        (
            {"lora_unet_up_blocks_1_attentions_0_attn2_to_k__lora_down__weight": (4, 2048)},
            "sd35",
            "is a LoRA for Stable Diffusion XL, .* the kit draws with Stable Diffusion 3",
        ),
        ({"emb_params": (1, 768)}, "sd15", "is no LoRA, as it has no pair of factors"),
    ],
)
def test_the_header_says_what_does_not_fit(folders, tmp_path, shapes, kit, sentence):
    file = foreign(tmp_path / "ink.safetensors", **shapes)
    with pytest.raises(LoraError, match=sentence) as caught:
        check_loras([LoraSource(file=file)], folders[kit])
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("ink.safetensors is ")


def test_a_file_whose_layers_are_only_partly_there_is_refused(sd15, tmp_path):
    file = foreign(
        tmp_path / "ink.safetensors",
        lora_unet_mid_block_attentions_0_proj_in__lora_down__weight=(2, 16, 1, 1),
        lora_unet_mid_block_attentions_0_proj_in__lora_up__weight=(16, 2, 1, 1),
        lora_unet_mid_block_attentions_7_proj_in__lora_down__weight=(2, 16, 1, 1),
        lora_unet_mid_block_attentions_7_proj_in__lora_up__weight=(16, 2, 1, 1),
    )
    with pytest.raises(LoraError, match="changes 2 layers, of which this pipeline has 1"):
        merge_lora(sd15, LoraSource(file=file))
    sd15.unload_lora_weights()


@pytest.mark.parametrize("scale", [5.1, -6.0, float("nan"), float("inf")])
def test_a_scale_beyond_reason_is_refused(tmp_path, scale):
    with pytest.raises(LoraError, match=r"scale of ink\.safetensors must be from -5 to 5"):
        LoraSource(file=tmp_path / "ink.safetensors", scale=scale)


def test_a_pickle_or_a_missing_file_is_one_sentence(folders, tmp_path):
    pickle = tmp_path / "ink.pt"
    pickle.write_bytes(b"never opened")
    with pytest.raises(LoraError, match="is a pickle, which can run code"):
        check_loras([LoraSource(file=pickle)], folders["sd15"])
    with pytest.raises(LoraError, match="cannot be read; check the path"):
        check_loras([LoraSource(file=tmp_path / "none.safetensors")], folders["sd15"])
