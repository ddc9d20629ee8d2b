"""`duet rerun`."""

from functools import partial
from pathlib import Path

from composer.files import sha256_of
from composer.images import open_image
from generation.foreign.read import read_metadata
from generation.foreign.settings import ForeignSettings
from generation.provenance import (
    Provenance,
    ProvenanceError,
    describe,
    rebuild_request,
    recorded_loras,
    recorded_selection,
    write_png,
)
from generation.request import (
    GenerateRequest,
    Request,
    TransferRequest,
    effective_finish_noise,
)
from generation.sample import Result, RunOptions
from studio.commands.adapters import loras_of_rerun, parse_loras
from studio.commands.generate import output_rules
from studio.commands.options import KitOptions, RerunOptions
from studio.commands.outputs import plan_output, save_all
from studio.commands.shared import (
    ProgressLine,
    open_engine,
    print_json,
    print_line,
    warn,
)
from studio.engine import Engine
from studio.errors import UsageError
from studio.foreign import foreign_request
from studio.kit_file import embedded_kits
from studio.kits import load_kit

DEFAULT_KIT = "mini"


def run(options: RerunOptions) -> int:
    """Draw an image again: equal bytes for the same kit, device and dtype.

    The settings of other programs' images are followed as far as they mean something here.

    Raises:
        MetadataError: The file is no PNG, or has no metadata that can be used.
        UsageError: The source, the style image or a LoRA is missing, or another kit drew the image.
    """
    inputs = (options.image, options.source, options.style_image)
    rules = output_rules(*inputs, overwrite=options.overwrite)
    output = plan_output(options.output, rules)
    found = read_metadata(options.image)
    if isinstance(found, ForeignSettings):
        return _draw_foreign(options, output, found)
    return _draw_own(options, output, found)


def _draw_own(options: RerunOptions, output: Path, provenance: Provenance) -> int:
    request = _request(options, provenance)
    index = _image_index(provenance, request.settings.num_images)
    kit = options.kit_name or _kit_of(options, provenance)
    selection = recorded_selection(provenance)
    loras = loras_of_rerun(options.loras, recorded_loras(provenance), load_kit(kit))
    engine = open_engine(KitOptions(kit=kit, device=options.device, dtype=options.dtype), loras)
    name = engine.load_control(request.settings.control_name)
    weights = engine.pipeline.hash_with(name, finishes=effective_finish_noise(request) > 0)
    _check_weights(options, provenance, engine, weights)
    result = _draw(engine, request)
    image = result.images[index].image
    facts = describe(result, index, kit=engine.kit.name, selection=selection)
    write = partial(write_png, image=image, provenance=facts)
    (output,) = save_all([output], [write], overwrite=options.overwrite)
    _report(output, request.settings.seed + index, as_json=options.json)
    return 0


def _draw_foreign(options: RerunOptions, output: Path, settings: ForeignSettings) -> int:
    """Draw an image with the settings of another program's, and name those that are dropped."""
    if options.source is not None or options.style_image is not None:
        raise UsageError(
            f"{options.image} was drawn by {settings.program}; its words and numbers are followed, "
            "without --source and --style-image."
        )
    kit = KitOptions(
        kit=options.kit_name or DEFAULT_KIT, device=options.device, dtype=options.dtype
    )
    engine = open_engine(kit, parse_loras(options.loras))
    rebuilt = foreign_request(engine, settings)
    warn(
        f"{options.image} was drawn by {settings.program}, so the image will be another one: its "
        f"settings are followed with the kit {engine.kit.name!r}."
    )
    for note in rebuilt.notes:
        warn(note)
    result = engine.generate(rebuilt.request, RunOptions(on_step=ProgressLine("step")))
    image, facts = result.images[0].image, describe(result, 0, kit=engine.kit.name)
    write = partial(write_png, image=image, provenance=facts)
    (output,) = save_all([output], [write], overwrite=options.overwrite)
    _report(output, rebuilt.request.settings.seed, as_json=options.json)
    return 0


def _report(output: Path, seed: int, *, as_json: bool) -> None:
    if as_json:
        print_json({"images": [{"path": str(output), "seed": seed}]})
    else:
        print_line(str(output))


def _request(options: RerunOptions, provenance: Provenance) -> Request:
    if provenance.fields.get("kind") == "transfer" and options.source is None:
        raise UsageError(
            f"{options.image} is a transferred image; give the image it was made from: "
            "--source IMAGE."
        )
    source = None if options.source is None else open_image(options.source)
    if "style" in provenance.fields and options.style_image is None:
        raise UsageError(
            f"{options.image} was drawn with a style image; give it: --style-image IMAGE."
        )
    style_image = None if options.style_image is None else open_image(options.style_image)
    return rebuild_request(provenance, source, style_image)


def _image_index(provenance: Provenance, num_images: int) -> int:
    """Return which image of its batch the PNG holds."""
    index = provenance.fields.get("index")
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < num_images:
        raise ProvenanceError("The PNG's provenance is damaged: it names no image of its batch.")
    return index


def _kit_of(options: RerunOptions, provenance: Provenance) -> str:
    """Return the kit's name; a PNG cannot choose a folder, only a kit that ships."""
    name = str(provenance.fields.get("kit", ""))
    if name not in embedded_kits():
        raise UsageError(
            f"{options.image} was drawn with the kit {name[:100]!r}, which does not ship with Duet "
            "Studio; give its folder: --kit FOLDER."
        )
    return name


def _check_weights(
    options: RerunOptions, provenance: Provenance, engine: Engine, weights_hash: str
) -> None:
    """Check that the same models draw; warn where the device differs."""
    drawn_by, pipeline = provenance.fields.get("weights_hash"), engine.pipeline
    if drawn_by != weights_hash:
        raise UsageError(
            f"{options.image} was drawn with other weights than those of the kit "
            f"{engine.kit.name!r}; choose the kit that drew it: --kit KIT."
        )
    _check_adapter(options, provenance, engine)
    device = str(provenance.fields.get("device", ""))[:100]
    if device != pipeline.device_name:
        warn(
            f"The image was drawn on {device}, not {pipeline.device_name}; "
            "the result may differ slightly."
        )


def _check_adapter(options: RerunOptions, provenance: Provenance, engine: Engine) -> None:
    if "style" not in provenance.fields:
        return
    adapter = engine.kit.ip_adapter
    known = "" if adapter is None else sha256_of(adapter.weights)
    if provenance.fields["style"].get("adapter_sha256") != known:
        raise UsageError(
            f"{options.image} was drawn with another IP-Adapter than that of the kit "
            f"{engine.kit.name!r}; choose the kit that drew it: --kit KIT."
        )


def _draw(engine: Engine, request: Request) -> Result:
    options = RunOptions(on_step=ProgressLine("step"))
    match request:
        case GenerateRequest():
            return engine.generate(request, options)
        case TransferRequest():
            return engine.transfer(request, options)
