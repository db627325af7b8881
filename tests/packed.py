"""A model in a package that can be found and not imported, as fixtures; see `conftest.py`."""

from dataclasses import replace
from pathlib import Path

import pytest

from saecircuits.splicing.manifests import sha256_of
from saecircuits.splicing.packaged import PACKAGED, Packaged
from tests.gguf_file import small_llama, write_gguf


@pytest.fixture
def packed_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packages with one that cannot be imported and holds a model."""
    monkeypatch.setenv("SAECIRCUITS_CACHE", str(tmp_path / "cache"))
    package = tmp_path / "site" / "packed_llama"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('never imported')", encoding="utf-8")
    write_gguf(package / "small.gguf", small_llama())
    monkeypatch.syspath_prepend(str(package.parent))
    return package


@pytest.fixture
def packed(packed_site: Path, monkeypatch: pytest.MonkeyPatch) -> Packaged:
    """That model under a name of its own."""
    model = replace(
        PACKAGED["smollm2"],
        name="tiny",
        project="packed-llama",
        module="packed_llama",
        file="small.gguf",
        sha256=sha256_of(packed_site / "small.gguf"),
    )
    monkeypatch.setitem(PACKAGED, "tiny", model)
    return model
