"""Subclasses of gradio's components without the files that gradio would write for them."""

from typing import Any

from gradio import component_meta


class WithoutStub(component_meta.ComponentMeta):
    """Metaclass of our components.

    Gradio's own writes a `.pyi` beside every module that subclasses a component, at import: into
    the user's installation, where type checkers take it for ours.
    """

    def __new__(cls, name: str, bases: tuple[type, ...], attrs: dict[str, Any]) -> "WithoutStub":
        """Make the class while the writing is switched off."""
        writer = component_meta.create_or_modify_pyi
        component_meta.create_or_modify_pyi = _write_nothing
        try:
            made: Any = super().__new__(cls, name, bases, attrs)
        finally:
            component_meta.create_or_modify_pyi = writer
        return made


def _write_nothing(*_: object) -> None:
    """Stand where gradio writes."""
