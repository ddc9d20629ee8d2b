"""One step of denoising, control network and denoiser together, with the levers of speed."""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn

from generation.deep_features import DeepFeatures
from generation.fused_attention import fuse_projections, unfuse_projections
from generation.levers import Levers
from generation.regions import Compile, CompiledRegions, compile_fixed
from generation.step_graph import Record, StepGraphs, record_cuda_graph
from generation.text_memory import TextMemory

_NUM_SLOTS: Final = 2  # a control network returns the residuals of down blocks and middle block


@dataclass(frozen=True, kw_only=True, slots=True)
class StepTools:
    """How steps are recorded (None: they are not) and blocks compiled."""

    record: Record | None = None
    compile_block: Compile = compile_fixed


def tools_for(device: torch.device) -> StepTools:
    """Return the tools of a device: graphs are recorded on CUDA only."""
    return StepTools(record=record_cuda_graph if device.type == "cuda" else None)


@dataclass(frozen=True, kw_only=True, slots=True)
class _ControlCall:
    """A call of a control network that is made within the denoiser's."""

    compute: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Slot:
    """A place in the denoiser's arguments for one result of a deferred call."""

    call: _ControlCall
    number: int


class Denoising:
    """A denoiser and its control networks, called by diffusers, run with levers.

    The pipelines of diffusers call a control network, then the denoiser with its output. Here the
    first call is deferred to the second, so that both are one unit: recorded as one graph, and left
    out where features are reused. Only one image at a time may be drawn with it.
    """

    def __init__(
        self,
        denoiser: nn.Module,
        controlnets: Sequence[nn.Module],
        levers: Levers,
        tools: StepTools,
    ) -> None:
        """Take over the models; `remove` gives them back.

        Raises:
            PipelineError: a lever does not fit the denoiser.
        """
        self._denoiser, self._models = denoiser, (denoiser, *controlnets)
        self._deep = None
        if levers.cache_interval > 1:
            self._deep = DeepFeatures(denoiser, levers.cache_interval)
        self._memories = [TextMemory(model) for model in self._models if levers.reuse_text]
        self._is_fused = levers.fused_projections
        if self._is_fused:
            fuse_projections(self._models)
        self._graphs = None
        if levers.graph and tools.record is not None:
            self._graphs = StepGraphs(tools.record)
        self.regions = None
        if levers.compiled:
            self.regions = CompiledRegions(self._models, tools.compile_block)
        self._run_denoiser: Callable[..., Any] = denoiser.forward
        denoiser.forward = self._step
        self._control_memories: dict[Callable[..., Any], TextMemory] = {}
        for number, controlnet in enumerate(controlnets, start=1):
            memory = self._memories[number] if self._memories else None
            controlnet.forward = self._deferring(controlnet, memory)

    def add(self, controlnet: nn.Module) -> None:
        """Take over a further control network, whose blocks are not compiled."""
        memory = None
        if self._memories:
            memory = TextMemory(controlnet)
            self._memories.append(memory)
        if self._is_fused:
            fuse_projections((controlnet,))
        self._models = (*self._models, controlnet)
        controlnet.forward = self._deferring(controlnet, memory)

    @property
    def problems(self) -> tuple[str, ...]:
        """Sentences about levers that this machine cannot use."""
        problems: list[str] = []
        if self._graphs is not None and self._graphs.problem:
            problems.append(f"Steps are not recorded as CUDA graphs: {self._graphs.problem}")
        if self.regions is not None and self.regions.problem:
            problems.append(f"Blocks are not compiled: {self.regions.problem}")
        return tuple(problems)

    def resolve(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return arguments of the denoiser with the results of a control network in them."""
        call = _call_of((), arguments)
        self._fill(call)
        return _completed(call)

    def start(self) -> None:
        """Begin an image."""
        if self._graphs is not None and self._graphs.is_full:
            self.drop_recordings()
        for memory in self._memories:
            memory.forget()
        if self._deep is not None:
            self._deep.start()
        if self._graphs is None:
            self.drop_recordings()

    def drop_recordings(self) -> None:
        """Drop all graphs, and the memory that they read."""
        if self._graphs is not None:
            self._graphs.clear()
        for memory in self._memories:
            memory.clear()
        if self._deep is not None:
            self._deep.clear()

    @contextmanager
    def paused(self) -> Generator[None, None, None]:
        """Run the models as diffusers calls them, for what the levers know nothing of."""
        self.start()
        if self.regions is not None:
            self.regions.pause()
        forwards = [model.__dict__.pop("forward") for model in self._models]
        try:
            yield
        finally:
            for model, forward in zip(self._models, forwards, strict=True):
                model.forward = forward

    def remove(self) -> None:
        """Give the models back as they were, but for rounding."""
        for model in self._models:
            del model.forward
        if self.regions is not None:
            self.regions.remove()
        if self._is_fused:
            unfuse_projections(self._models)
        for memory in self._memories:
            memory.remove()
        if self._deep is not None:
            self._deep.remove()

    def _deferring(
        self, controlnet: nn.Module, memory: TextMemory | None
    ) -> Callable[..., tuple[_Slot, ...]]:
        """Return a forward that returns slots in place of a control network's results."""
        compute = controlnet.forward
        if self._deep is not None:
            compute = self._deep.reusing(controlnet, compute)
        if memory is not None:
            self._control_memories[compute] = memory

        def defer(*args: Any, **kwargs: Any) -> tuple[_Slot, ...]:  # noqa: ANN401
            call = _ControlCall(compute=compute, args=args, kwargs=kwargs)
            return tuple(_Slot(call=call, number=number) for number in range(_NUM_SLOTS))

        return defer

    def _step(self, *args: Any, **kwargs: Any) -> tuple[Tensor]:  # noqa: ANN401
        """Run a step; takes the place of the denoiser's forward."""
        call = _call_of(args, kwargs)
        sample: Any = args[0] if args else kwargs.get("sample", kwargs.get("hidden_states"))
        size = (sample.shape, call[-1] is not None)
        if self._deep is not None:
            self._deep.advance(size)
        is_warm = self.regions is not None and self.regions.begin(size)
        try:
            return (self._run(call, is_warm=is_warm),)
        finally:
            if self.regions is not None:
                self.regions.end()

    def _run(self, call: Any, *, is_warm: bool) -> Tensor:  # noqa: ANN401  a tree of arguments
        if self._graphs is None:
            return self._compute(call)
        self._fill(call)  # first, as a graph reads what lies there
        is_shallow = self._deep is not None and self._deep.is_shallow
        return self._graphs.run(self._compute, call, variant=(is_warm, is_shallow))

    def _compute(self, call: Any) -> Tensor:  # noqa: ANN401
        self._fill(call)
        return self._run_denoiser(*call[0], **_completed(call))[0]

    def _fill(self, call: Any) -> None:  # noqa: ANN401
        _, kwargs, _, control = call
        filled = [(memory, kwargs) for memory in self._memories[:1]]
        if control is not None and control[0] in self._control_memories:
            filled.append((self._control_memories[control[0]], control[2]))
        for memory, arguments in filled:
            if (states := arguments.get("encoder_hidden_states")) is not None:
                memory.fill(states)


def _call_of(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """Return a call of the denoiser as a tree, and in it the deferred one, if there is one."""
    slots = {name: slot for name, slot in kwargs.items() if isinstance(slot, _Slot)}
    control = next((slot.call for slot in slots.values()), None)
    return (
        args,
        {name: value for name, value in kwargs.items() if name not in slots},
        {name: slot.number for name, slot in slots.items()},
        None if control is None else (control.compute, control.args, control.kwargs),
    )


def _completed(call: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return the denoiser's keyword arguments, the results of the deferred call among them."""
    _, kwargs, slots, control = call
    results: Any = ()
    if control is not None:
        compute, control_args, control_kwargs = control
        results = compute(*control_args, **control_kwargs)
    return {**kwargs, **{name: results[number] for name, number in slots.items()}}
