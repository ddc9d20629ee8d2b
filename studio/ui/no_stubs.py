"""Metaclass of components for which gradio writes no stub files."""

from typing import Any

from gradio import component_meta


class WithoutStub(component_meta.ComponentMeta):
    """Metaclass of our components.

    Gradio's metaclass writes a `.pyi` file beside every module that subclasses a component when
    that module is imported; type checkers would then read it in place of the module.
    """

    def __new__(cls, name: str, bases: tuple[type, ...], attrs: dict[str, Any]) -> "WithoutStub":
        """Create the class without writing a file."""
        writer = component_meta.create_or_modify_pyi
        component_meta.create_or_modify_pyi = _write_nothing
        try:
            created: Any = super().__new__(cls, name, bases, attrs)
        finally:
            component_meta.create_or_modify_pyi = writer
        return created


def _write_nothing(*_: object) -> None:
    """Replace gradio's writer."""
