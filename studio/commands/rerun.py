"""`duet rerun`."""

from composer.files import sha256_of
from composer.images import open_image
from generation.provenance import (
    Provenance,
    ProvenanceError,
    describe,
    read_png,
    rebuild_request,
    recorded_loras,
    recorded_selection,
    write_png,
)
from generation.request import GenerateRequest, Request, TransferRequest
from generation.sample import Result, RunOptions
from studio.commands.adapters import loras_of_rerun
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
from studio.kit_file import embedded_kits
from studio.kits import load_kit


def run(options: RerunOptions) -> int:
    """Draw an image again: equal bytes for the same kit, device and dtype.

    Raises:
        ProvenanceError: The file is no PNG of Duet Studio, or its metadata is damaged.
        UsageError: The source, the style image or a LoRA is missing, or another kit drew the image.
    """
    inputs = (options.image, options.source, options.style_image)
    rules = output_rules(*inputs, overwrite=options.overwrite)
    output = plan_output(options.output, rules)
    provenance = read_png(options.image)
    request = _request(options, provenance)
    index = _image_index(provenance, request.settings.num_images)
    kit = options.kit_name or _kit_of(options, provenance)
    selection = recorded_selection(provenance)
    loras = loras_of_rerun(options.loras, recorded_loras(provenance), load_kit(kit))
    engine = open_engine(KitOptions(kit=kit, device=options.device, dtype=options.dtype), loras)
    name = engine.load_control(request.settings.control_name)
    _check_weights(options, provenance, engine, engine.pipeline.hash_with(name))
    result = _draw(engine, request)
    image = result.images[index].image
    facts = describe(result, index, kit=engine.kit.name, selection=selection)
    save_all([output], [lambda path: write_png(path, image, facts)])
    if options.json:
        print_json({"images": [{"path": str(output), "seed": request.settings.seed + index}]})
    else:
        print_line(str(output))
    return 0


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
