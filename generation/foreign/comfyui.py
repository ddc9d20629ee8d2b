"""The text chunks `prompt` and `workflow` of ComfyUI: a graph of nodes.

`prompt` is an object of nodes by their id, each with `class_type` and `inputs`, in which a list of
an id and a number is a link. `workflow` is the graph as the page has it: `nodes` with positional
`widgets_values`, and `links`. It is read where there is no `prompt`, for the nodes whose widgets
are known here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from generation.foreign.settings import ForeignSettings, brief, few, plain_text, real, whole
from generation.png_text import MetadataError, read_json

PROGRAM = "ComfyUI"
_MAX_NODES = 5_000
_MAX_HOPS = 100
_SAMPLERS = ("KSampler", "KSamplerAdvanced")
_LATENTS = ("EmptyLatentImage", "EmptySD3LatentImage")
_WIDGETS: Mapping[str, tuple[str, ...]] = {
    "KSampler": ("seed", "", "steps", "cfg", "sampler_name", "scheduler", "denoise"),
    "KSamplerAdvanced": (
        *("add_noise", "noise_seed", "", "steps", "cfg", "sampler_name", "scheduler"),
        *("start_at_step", "end_at_step", "return_with_leftover_noise"),
    ),
    "CLIPTextEncode": ("text",),
    "EmptyLatentImage": ("width", "height", "batch_size"),
    "EmptySD3LatentImage": ("width", "height", "batch_size"),
    "CheckpointLoaderSimple": ("ckpt_name",),
    "LoraLoader": ("lora_name", "strength_model", "strength_clip"),
    "ControlNetLoader": ("control_net_name",),
}
_HARMLESS = ("SaveImage", "PreviewImage", "VAEDecode", "Note", "MarkdownNote", "Reroute")
_NAMES = ("ckpt_name", "unet_name", "lora_name", "control_net_name", "vae_name", "image")


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """A node of the graph: its class, and its inputs, values or links."""

    kind: str
    inputs: Mapping[str, object]


Graph = Mapping[str, Node]


def read_comfyui(prompt: str, workflow: str) -> ForeignSettings:
    """Read the sampler that starts from an empty picture, or the first one, and what leads to it.

    Args:
        prompt: the chunk, or "".
        workflow: the chunk, or ""; unused where there is a prompt.

    Raises:
        MetadataError: the chunk is no graph, or has no sampler that is known here.
    """
    graph = _graph_of_prompt(prompt) if prompt else _graph_of_workflow(workflow)
    samplers = [key for key, node in graph.items() if node.kind in _SAMPLERS]
    if not samplers:
        raise MetadataError("The PNG's graph of ComfyUI has no KSampler, so nothing can be read.")
    key = next((key for key in samplers if _latent_of(graph, graph[key])), samplers[0])
    return _settings(graph, key)


def _settings(graph: Graph, key: str) -> ForeignSettings:
    sampler = graph[key]
    inputs = sampler.inputs
    latent = _latent_of(graph, sampler)
    used = {key} if latent is None else {key, latent}
    texts: list[str] = []
    for side in ("positive", "negative"):
        found = _find(graph, inputs.get(side), ("CLIPTextEncode",), (side, "conditioning"))
        used |= set() if found is None else {found}
        text = None if found is None else _value(graph, graph[found].inputs.get("text"))
        texts.append(plain_text(text) if isinstance(text, str) else "")
    sides = {} if latent is None else graph[latent].inputs
    seed = inputs.get("seed", inputs.get("noise_seed"))
    others = [_line(node) for one, node in graph.items() if one not in used]
    return ForeignSettings(
        program=PROGRAM,
        text=texts[0],
        negative_text=texts[1],
        seed=whole(_value(graph, seed)),
        num_inference_steps=whole(_value(graph, inputs.get("steps"))),
        guidance_scale=real(_value(graph, inputs.get("cfg"))),
        width=whole(_value(graph, sides.get("width"))),
        height=whole(_value(graph, sides.get("height"))),
        dropped=few([*_dropped_of(graph, sampler), *filter(None, others)]),
    )


def _dropped_of(graph: Graph, sampler: Node) -> list[str]:
    """Return the settings of a sampler that have no counterpart here."""
    lines: list[str] = []
    for name in ("sampler_name", "scheduler", "denoise", "start_at_step", "end_at_step"):
        value = _value(graph, sampler.inputs.get(name))
        if value is not None and not (name == "denoise" and real(value) == 1):
            lines.append(brief(name, value))
    return lines


def _line(node: Node) -> str:
    """Return the line about a node that is not used; empty where it changes no picture."""
    if node.kind in _HARMLESS:
        return ""
    name = next((value for key in _NAMES if isinstance(value := node.inputs.get(key), str)), "")
    return brief(f"node {node.kind}", name)


def _latent_of(graph: Graph, sampler: Node) -> str | None:
    """Return the empty picture that a sampler starts from; None where it starts from another."""
    key = _target(sampler.inputs.get("latent_image"))
    is_empty = key is not None and key in graph and graph[key].kind in _LATENTS
    return key if is_empty else None


def _find(graph: Graph, link: object, kinds: tuple[str, ...], along: tuple[str, ...]) -> str | None:
    """Follow links through nodes that pass conditioning on; return the first node of a kind."""
    for _ in range(_MAX_HOPS):
        key = _target(link)
        if key is None or key not in graph:
            return None
        if graph[key].kind in kinds:
            return key
        inputs = graph[key].inputs
        ahead = [name for name in (*along, "conditioning_1") if _target(inputs.get(name))]
        if not ahead:
            return None
        link = inputs[ahead[0]]
    return None


def _value(graph: Graph, value: object) -> object:
    """Return a value, or that of the node that a link leads to; None where there is none."""
    for _ in range(_MAX_HOPS):
        key = _target(value)
        if key is None:
            return value if isinstance(value, str | int | float) else None
        if key not in graph:
            return None
        inputs = graph[key].inputs
        names = ("value", "text", "string", "seed", "noise_seed", "int", "float")
        value = next((inputs[name] for name in names if name in inputs), None)
    return None


def _target(link: object) -> str | None:
    """Return the id that a link leads to; None for anything else."""
    match link:
        case [str() | int() as key, int()]:
            return str(key)
        case _:
            return None


def _graph_of_prompt(text: str) -> Graph:
    values = read_json(text)
    if not isinstance(values, dict):
        raise _no_graph()
    nodes = cast("dict[str, Any]", values)
    return _checked(
        {
            key: Node(kind=node["class_type"], inputs=node["inputs"])
            for key, node in nodes.items()
            if isinstance(node, dict)
            and isinstance(node.get("class_type"), str)  # pyright: ignore[reportUnknownMemberType]
            and isinstance(node.get("inputs"), dict)  # pyright: ignore[reportUnknownMemberType]
        }
    )


def _graph_of_workflow(text: str) -> Graph:
    match read_json(text):
        case {"nodes": list() as nodes, "links": list() as links}:
            sources = {
                link[0]: [str(link[1]), link[2]]
                for link in cast("list[Any]", links)
                if isinstance(link, list)
                and len(cast("list[Any]", link)) > 2
                and all(isinstance(part, int) for part in cast("list[Any]", link)[:3])
            }
            read = [_workflow_node(node, sources) for node in cast("list[object]", nodes)]
            return _checked(dict(entry for entry in read if entry is not None))
        case _:
            raise _no_graph()


def _workflow_node(node: object, sources: Mapping[int, object]) -> tuple[str, Node] | None:
    match node:
        case {"id": int() | str() as key, "type": str(kind)}:
            fields = cast("dict[str, Any]", node)
        case _:
            return None
    widgets = fields.get("widgets_values")
    values = cast("list[object]", widgets) if isinstance(widgets, list) else []
    inputs = {
        name: value for name, value in zip(_WIDGETS.get(kind, ()), values, strict=False) if name
    }
    sockets = fields.get("inputs")
    for socket in cast("list[object]", sockets) if isinstance(sockets, list) else []:
        match socket:
            case {"name": str(name), "link": int(number)} if number in sources:
                inputs[name] = sources[number]
            case _:
                pass
    return str(key), Node(kind=kind, inputs=inputs)


def _checked(graph: dict[str, Node]) -> Graph:
    if len(graph) > _MAX_NODES:
        raise MetadataError(f"The PNG's graph of ComfyUI has more than {_MAX_NODES:,} nodes.")
    return graph


def _no_graph() -> MetadataError:
    return MetadataError("The PNG's metadata is damaged: ComfyUI's is no graph of nodes.")
