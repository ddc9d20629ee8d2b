"""Settings of A1111, ComfyUI and InvokeAI, written by hand in the layouts of their chunks."""

import json
import struct
import zlib

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from generation.foreign.a1111 import read_parameters
from generation.foreign.comfyui import read_comfyui
from generation.foreign.invokeai import read_invokeai
from generation.foreign.read import read_metadata
from generation.foreign.settings import MAX_DROPPED, ForeignSettings
from generation.png_text import MAX_CHUNK_BYTES, MetadataError
from generation.provenance import Provenance

PARAMETERS = """a (red:1.2) chair, <lora:oak:0.8>
in an empty room
Negative prompt: ugly, blurry
text: a watermark
Steps: 28, Sampler: DPM++ 2M Karras, CFG scale: 6.5, Seed: 4294967295, Size: 512x768, \
Model hash: 0123abcd, Model: dream, Clip skip: 2, Lora hashes: "oak: 12ab, pine: \\"x\\", y", \
Version: v1.10.1"""


def graph(**changes):
    nodes = {
        "3": {
            "class_type": "KSampler",
            "inputs": {
                "seed": 2**64 - 1, "steps": 30, "cfg": 5.5, "sampler_name": "euler",
                "scheduler": "karras", "denoise": 1, "model": ["10", 0], "positive": ["8", 0],
                "negative": ["7", 0], "latent_image": ["5", 0],
            },
        },
        "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "dream.safetensors"}},
        "5": {
            "class_type": "EmptyLatentImage",
            "inputs": {"width": 640, "height": 448, "batch_size": 4},
        },
        "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a red chair", "clip": ["4", 1]}},
        "7": {"class_type": "CLIPTextEncode", "inputs": {"text": ["9", 0], "clip": ["4", 1]}},
        "8": {
            "class_type": "ControlNetApply",
            "inputs": {"conditioning": ["6", 0], "control_net": ["11", 0], "image": ["12", 0]},
        },
        "9": {"class_type": "PrimitiveString", "inputs": {"value": "ugly"}},
        "10": {"class_type": "LoraLoader", "inputs": {"lora_name": "oak.safetensors"}},
        "13": {"class_type": "SaveImage", "inputs": {"images": ["3", 0]}},
    }  # fmt: skip
    return nodes | changes


def workflow():
    return {
        "nodes": [
            {
                "id": 1, "type": "KSampler",
                "widgets_values": [7, "randomize", 12, 4.5, "euler", "normal", 0.7],
                "inputs": [
                    {"name": "positive", "link": 1}, {"name": "negative", "link": 2},
                    {"name": "latent_image", "link": 3}, {"name": "model", "link": None},
                ],
            },
            {"id": 2, "type": "CLIPTextEncode", "widgets_values": ["a red chair"]},
            {"id": 3, "type": "CLIPTextEncode", "widgets_values": ["ugly"]},
            {"id": 4, "type": "EmptyLatentImage", "widgets_values": [512, 256, 1]},
            {"id": 5, "type": "UpscaleLatent", "widgets_values": []},
        ],
        "links": [[1, 2, 0, 1, 1, "CONDITIONING"], [2, 3, 0, 1, 2, "CONDITIONING"],
                  [3, 4, 0, 1, 3, "LATENT"], "broken"],
    }  # fmt: skip


INVOKE = {
    "app_version": "4.2.9", "generation_mode": "txt2img", "positive_prompt": "a red chair",
    "negative_prompt": "ugly", "width": 832, "height": 1216, "seed": 3, "rand_device": "cpu",
    "cfg_scale": 7.5, "cfg_rescale_multiplier": 0, "steps": 25, "scheduler": "euler_a",
    "clip_skip": 0, "model": {"key": "k", "name": "dream", "base": "sdxl"}, "controlnets": [],
    "loras": [{"model": {"name": "oak"}, "weight": 0.75}, {"lora": {"model_name": "ash"}}],
}  # fmt: skip


def write(path, **chunks):
    info = PngInfo()
    for key, text in chunks.items():
        info.add_text(key, text)
    Image.new("RGB", (8, 8)).save(path, pnginfo=info)
    return path


def test_the_parameters_of_a1111():
    read = read_parameters(PARAMETERS)
    assert read.text == "a (red:1.2) chair, <lora:oak:0.8> in an empty room"
    assert read.negative_text == "ugly, blurry text: a watermark"
    assert (read.seed, read.num_inference_steps, read.guidance_scale) == (2**32 - 1, 28, 6.5)
    assert (read.width, read.height) == (512, 768)
    assert read.dropped == (
        "Sampler: DPM++ 2M Karras", "Model hash: 0123abcd", "Model: dream", "Clip skip: 2",
        'Lora hashes: oak: 12ab, pine: "x", y',
    )  # fmt: skip


def test_words_alone_are_no_settings():
    read = read_parameters("a chair: red, with legs: four\n")
    assert read.text == "a chair: red, with legs: four"
    assert (read.seed, read.width, read.dropped) == (None, None, ())
    assert read_parameters("").text == ""


@pytest.mark.parametrize("size", ["512", "512x", "x512", "axb", "512x768x3"])
def test_a_size_that_is_none_is_dropped(size):
    read = read_parameters(f"chair\nSteps: 20, Seed: 1, CFG scale: 7, Size: {size}")
    assert (read.width, read.height) == (None, None)
    assert read.dropped == (f"Size: {size}",)


def test_a_string_without_an_end_is_read_to_the_next_comma():
    read = read_parameters('chair\nSteps: 20, Lora hashes: "oak: 1, Seed: 5, CFG scale: 7')
    assert (read.seed, read.guidance_scale) == (5, 7)


def test_the_graph_of_comfyui():
    read = read_comfyui(json.dumps(graph()), "")
    assert (read.text, read.negative_text) == ("a red chair", "ugly")
    assert (read.seed, read.num_inference_steps, read.guidance_scale) == (2**64 - 1, 30, 5.5)
    assert (read.width, read.height) == (640, 448)
    assert read.dropped == (
        "sampler_name: euler", "scheduler: karras",
        "node CheckpointLoaderSimple: dream.safetensors", "node ControlNetApply",
        "node PrimitiveString", "node LoraLoader: oak.safetensors",
    )  # fmt: skip


def test_of_two_samplers_the_one_that_starts_from_nothing_is_read():
    second = {
        "class_type": "KSampler",
        "inputs": {"seed": 1, "steps": 9, "denoise": 0.5, "latent_image": ["3", 0]},
    }
    read = read_comfyui(json.dumps({"1": second} | graph()), "")
    assert (read.num_inference_steps, read.width) == (30, 640)
    assert "node KSampler" in read.dropped
    alone = read_comfyui(json.dumps({"1": second}), "")
    assert (alone.num_inference_steps, alone.width, alone.text) == (9, None, "")
    assert "denoise: 0.5" in alone.dropped


def test_the_workflow_is_read_where_there_is_no_prompt():
    read = read_comfyui("", json.dumps(workflow()))
    assert (read.text, read.negative_text) == ("a red chair", "ugly")
    assert (read.seed, read.num_inference_steps, read.guidance_scale) == (7, 12, 4.5)
    assert (read.width, read.height) == (512, 256)
    assert read.dropped == (
        "sampler_name: euler", "scheduler: normal", "denoise: 0.7", "node UpscaleLatent",
    )  # fmt: skip


def test_a_graph_that_leads_in_a_circle_ends():
    circle = {"class_type": "ConditioningCombine", "inputs": {"conditioning_1": ["6", 0]}}
    value = {"class_type": "PrimitiveInt", "inputs": {"value": ["9", 0]}}
    nodes = graph(**{"6": circle, "9": value})
    nodes["3"]["inputs"]["seed"] = ["9", 0]
    read = read_comfyui(json.dumps(nodes), "")
    assert (read.text, read.negative_text, read.seed) == ("", "", None)


def test_the_metadata_of_invokeai():
    read = read_invokeai(json.dumps(INVOKE))
    assert (read.text, read.negative_text) == ("a red chair", "ugly")
    assert (read.seed, read.num_inference_steps, read.guidance_scale) == (3, 25, 7.5)
    assert (read.width, read.height) == (832, 1216)
    assert read.dropped == (
        "rand_device: cpu", "scheduler: euler_a", "model: dream", "loras: oak at 0.75",
        "loras: ash",
    )  # fmt: skip


@pytest.mark.parametrize("odd", [None, True, "a", "1e400", 1e400, [1], {}, "9" * 5000])
def test_a_number_of_another_kind_is_none(odd):
    read = read_invokeai(json.dumps(INVOKE | {"seed": odd, "cfg_scale": odd}))
    assert (read.seed, read.guidance_scale) == (None, None)


def test_halves_of_pairs_and_controls_do_not_pass():
    text = '{"positive_prompt": "a\\ud800 \\u001b[31mred\\u0000 chair\\n\\tof\\u00a0oak"}'
    assert read_invokeai(text).text == "a? [31mred chair  of oak"


def test_the_lines_about_what_is_dropped_are_bounded():
    read = read_invokeai(json.dumps({str(n): "x\n" * 500 for n in range(1000)}))
    assert len(read.dropped) == MAX_DROPPED + 1
    assert read.dropped[-1] == f"{1000 - MAX_DROPPED} further settings"
    assert all("\n" not in line and len(line) < 100 for line in read.dropped)


def test_the_chunk_decides_and_our_own_comes_first(tmp_path):
    chunks = {
        "parameters": PARAMETERS, "invokeai_metadata": json.dumps(INVOKE),
        "prompt": json.dumps(graph()), "duet_studio": '{"schema": 1}',
    }  # fmt: skip

    def program(*keys):
        read = read_metadata(write(tmp_path / "a.png", **{key: chunks[key] for key in keys}))
        return read.program if isinstance(read, ForeignSettings) else type(read)

    assert program("parameters") == "A1111"
    assert program("prompt") == "ComfyUI"
    assert program("invokeai_metadata", "parameters") == "InvokeAI"
    assert program(*chunks) is Provenance


@pytest.mark.parametrize(
    ("chunks", "sentence"),
    [
        ({}, "does not say how it was made"),
        ({"Title": "chair"}, "does not say how it was made"),
        ({"parameters": "x" * 10_000_000}, "parameters has more than 4 MiB"),
        ({"prompt": "[" * 10_000_000}, "prompt has more than 4 MiB"),
        ({"workflow": "x" * 10_000_000}, "workflow has more than 4 MiB"),
        ({"invokeai_metadata": "x" * 10_000_000}, "invokeai_metadata has more than 4 MiB"),
        ({"prompt": "[" * 1_000_000}, "not valid JSON"),
        ({"workflow": '{"nodes":' * 300_000}, "not valid JSON"),
        ({"invokeai_metadata": '{"a":' * 300_000}, "not valid JSON"),
        ({"invokeai_metadata": "[1]"}, "no JSON object"),
        ({"prompt": "[1]"}, "no graph"),
        ({"prompt": "{}"}, "has no KSampler"),
        ({"workflow": '{"nodes": 1}'}, "no graph"),
        ({"workflow": '{"nodes": [[]], "links": [[[], 1, 2]]}'}, "has no KSampler"),
        ({"parameters": '{"sui_image_params": {}}'}, "a program whose settings are not read"),
        (
            {
                "prompt": json.dumps(
                    {str(n): {"class_type": "K", "inputs": {}} for n in range(5001)}
                )
            },
            "more than 5,000 nodes",
        ),
    ],
)
def test_what_cannot_be_read_is_a_sentence(tmp_path, chunks, sentence):
    with pytest.raises(MetadataError, match=sentence) as caught:
        read_metadata(write(tmp_path / "a.png", **chunks))
    assert "\n" not in str(caught.value)


def test_a_length_that_lies_is_not_believed():
    body = b"prompt\0{}"
    lie = struct.pack(">I", MAX_CHUNK_BYTES * 2) + b"tEXt" + body
    data = b"\x89PNG\r\n\x1a\n" + lie + struct.pack(">I", zlib.crc32(b"tEXt" + body))
    with pytest.raises(MetadataError, match="does not say how it was made"):
        read_metadata(data)
