"""Which LLVM library is taken, by what the environment names."""

from pathlib import Path

import pytest

from assets.catalogue import engine


def test_the_named_library_is_taken_before_the_usual_ones(tmp_path: Path, monkeypatch) -> None:
    named, usual = tmp_path / "named.so", tmp_path / "usual.so"
    named.touch()
    usual.touch()
    monkeypatch.setattr(engine, "LLVM_LOCATIONS", (str(tmp_path / "missing.so"), str(usual)))
    monkeypatch.delenv(engine.LLVM_VARIABLE, raising=False)
    assert engine.find_llvm() == str(usual)
    monkeypatch.setenv(engine.LLVM_VARIABLE, str(named))
    assert engine.find_llvm() == str(named)


def test_an_empty_name_hides_every_library(tmp_path: Path, monkeypatch) -> None:
    usual = tmp_path / "usual.so"
    usual.touch()
    monkeypatch.setattr(engine, "LLVM_LOCATIONS", (str(usual),))
    monkeypatch.setenv(engine.LLVM_VARIABLE, "")
    assert engine.find_llvm() is None


def test_a_named_library_must_exist(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv(engine.LLVM_VARIABLE, str(tmp_path / "gone.so"))
    with pytest.raises(ValueError, match=r"must name an LLVM library .*gone\.so does not exist"):
        engine.find_llvm()
