import errno
import json
import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from composer.fusion import Fusion
from generation.generate import generate
from generation.png_text import MAX_CHUNK_BYTES, MetadataError
from generation.provenance import (
    CHUNK,
    Provenance,
    ProvenanceError,
    describe,
    read_png,
    rebuild_request,
    write_png,
)
from generation.request import DrawingSettings, GenerateRequest, RequestError, TransferRequest
from generation.transfer import transfer
from tests.generation import tiny
from tests.pictures import noise


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def forge(payload: bytes) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + chunk(b"tEXt", CHUNK.encode() + b"\0" + payload)


@pytest.fixture(scope="module")
def result_of_two(pipeline):
    request = GenerateRequest(
        query=tiny.make_query("a red\nchair, glänzend"),
        control_sketch=tiny.make_sketch(),
        settings=DrawingSettings(
            num_inference_steps=2, seed=11, num_images=2, negative_text="ugly"
        ),
    )
    return generate(pipeline, request)


def test_an_image_is_made_again_from_its_png(pipeline, result_of_two, tmp_path):
    path = tmp_path / "out.png"
    write_png(path, result_of_two.images[1].image, describe(result_of_two, 1, kit="tiny"))
    read = read_png(path)
    again = generate(pipeline, rebuild_request(read))
    original = result_of_two.images[read.fields["index"]].image
    assert again.images[1].image.tobytes() == original.tobytes()
    assert Image.open(path).tobytes() == original.tobytes()
    assert read.fields["weights_hash"] == pipeline.weights_hash
    assert [file.name for file in tmp_path.iterdir()] == ["out.png"]


def test_an_image_of_a_query_with_two_sides_is_made_again(pipeline, tmp_path):
    query = tiny.make_query()
    fusion = Fusion(reference=query.feature, words=-query.feature, projection=torch.eye(16)[:3])
    request = GenerateRequest(
        query=replace(query, fusion=fusion), settings=DrawingSettings(num_inference_steps=2)
    )
    result, path = generate(pipeline, request), tmp_path / "out.png"
    write_png(path, result.images[0].image, describe(result, 0, kit="tiny"))
    again = generate(pipeline, rebuild_request(read_png(path)))
    assert again.images[0].image.tobytes() == result.images[0].image.tobytes()


def test_an_enlarged_image_is_made_again(pipeline, tmp_path):
    request = GenerateRequest(
        query=tiny.make_query(),
        settings=DrawingSettings(num_inference_steps=2, height=48, width=72),
        enlarged_to=(300, 200),
    )
    result, path = generate(pipeline, request), tmp_path / "out.png"
    write_png(path, result.images[0].image, describe(result, 0, kit="tiny"))
    read = read_png(path)
    again = generate(pipeline, rebuild_request(read))
    assert again.images[0].image.size == (300, 200)
    assert again.images[0].image.tobytes() == result.images[0].image.tobytes()
    for forged in ("300x200", [300], [300, "200"], [300, 10**6]):
        damaged = Provenance(fields={**read.fields, "enlarged_to": forged})
        with pytest.raises((ProvenanceError, RequestError)):
            rebuild_request(damaged)


def test_other_tools_can_read_the_parameters(result_of_two, tmp_path):
    write_png(
        tmp_path / "a.png", result_of_two.images[0].image, describe(result_of_two, 0, kit="tiny")
    )
    text = Image.open(tmp_path / "a.png").text["parameters"]
    prompt, negative, line = text.split("\n")
    assert prompt == "a red chair, glänzend"
    assert negative == "Negative prompt: ugly"
    assert line.startswith("Steps: 2, Sampler: DPM++ 2M, CFG scale: 3.0, Seed: 11, Size: 64x64")


@pytest.mark.parametrize(
    "kept", [{}, {"is_faithful": True}, {"keeps_colours": True}, {"keeps_size": True}]
)
def test_a_transfer_is_made_again_with_its_source_only(pipeline, tmp_path, kept):
    source = Image.fromarray(np.tile(np.arange(64, dtype=np.uint8)[:, None, None], (1, 64, 3)) * 3)
    settings = DrawingSettings(num_inference_steps=3)
    request = TransferRequest(query=tiny.make_query(), source=source, settings=settings, **kept)
    result = transfer(pipeline, request)
    write_png(tmp_path / "t.png", result.images[0].image, describe(result, 0))
    assert (
        Image.open(tmp_path / "t.png")
        .text["parameters"]
        .endswith(f"Model: duet, Denoising strength: {request.strength}")
    )
    read = read_png((tmp_path / "t.png").read_bytes())
    again = transfer(pipeline, rebuild_request(read, source))
    assert again.images[0].image.tobytes() == result.images[0].image.tobytes()
    with pytest.raises(ProvenanceError, match="give its source image"):
        rebuild_request(read)
    with pytest.raises(ProvenanceError, match="not the image that was transferred"):
        rebuild_request(read, Image.new("RGB", (64, 64), "red"))


def test_a_failed_save_leaves_nothing(result_of_two, tmp_path, monkeypatch):
    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OSError, match="No space left"):
        write_png(tmp_path / "out.png", result_of_two.images[0].image, describe(result_of_two, 0))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"GIF89a", "no PNG"),
        (b"\x89PNG\r\n\x1a\n" + chunk(b"IEND", b""), "does not say how it was made"),
        (forge(b"{"), "damaged"),
        (forge(b"[" * 100_000), "damaged"),
        (forge(b'{"schema": 99}'), "must be of schema 1"),
        (forge(b"[1]"), "must be of schema 1"),
        (forge(b" " * (MAX_CHUNK_BYTES + 1)), "too long"),
        (forge(b"{}")[:30], "does not say"),
    ],
)
def test_forged_files_are_refused(data, message):
    with pytest.raises(MetadataError, match=message):
        read_png(data)


def test_forged_values_meet_the_caps(result_of_two):
    fields = describe(result_of_two, 0).fields
    with pytest.raises(RequestError, match="num_inference_steps"):
        rebuild_request(Provenance(fields=fields | {"num_inference_steps": 10**9}))
    with pytest.raises(ProvenanceError, match="damaged"):
        rebuild_request(Provenance(fields=fields | {"scheduler": "../etc"}))
    with pytest.raises(ProvenanceError, match="unknown kind"):
        rebuild_request(Provenance(fields=fields | {"kind": "x"}))
    with pytest.raises(ProvenanceError, match="damaged"):
        rebuild_request(Provenance(fields={"schema": 1}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": [1 << 15, 1 << 15]}, "too many numbers"),
        ({"shape": [-1, 32]}, "impossible shape"),
        ({"shape": [1, 32, 1, 1]}, "impossible shape"),
        ({"shape": [12.0, 32]}, "impossible shape"),
        ({"dtype": "object"}, "unknown number format"),
        ({"shape": [12, 31]}, "wrong length"),
        ({"zlib": "!!"}, "damaged"),
    ],
)
def test_forged_arrays_are_refused(result_of_two, change, message):
    fields = json.loads(json.dumps(describe(result_of_two, 0).fields))
    fields["query"]["prompt_embeddings"] |= change
    with pytest.raises(ProvenanceError, match=message):
        rebuild_request(Provenance(fields=fields))


def test_nothing_of_a_users_image_is_in_the_chunk(pipeline):
    source = noise((64, 64), 80).convert("RGB")
    settings = DrawingSettings(num_inference_steps=3)
    request = TransferRequest(query=tiny.make_query(), source=source, settings=settings)
    result = transfer(pipeline, tiny.vary(request, controlnet_conditioning_scale=0.0))
    text = json.dumps(describe(result, 0).fields)
    assert len(text) < 8_000


def test_a_query_of_half_precision_is_kept_in_single_precision(pipeline, result_of_two):
    query = result_of_two.request.query
    half = replace(query, prompt_embeddings=query.prompt_embeddings.bfloat16())
    request = replace(result_of_two.request, query=half)
    fields = describe(replace(result_of_two, request=request), 0).fields
    again = rebuild_request(Provenance(fields=json.loads(json.dumps(fields))))
    assert again.query.prompt_embeddings.dtype is torch.float32
    assert torch.equal(again.query.prompt_embeddings, half.prompt_embeddings.float())


def test_positions_beyond_the_prompt_are_refused(result_of_two):
    provenance = describe(result_of_two, 0)
    provenance.fields["query"]["pseudo_positions"] = [10_000]
    with pytest.raises(ProvenanceError, match="parts of the composed query contradict each other"):
        rebuild_request(provenance)
