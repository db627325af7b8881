"""The contents page: every name leads somewhere, and none is hidden by a module of that name."""

import importlib
import pkgutil
import subprocess
import sys

import pytest

import saecircuits as sc


@pytest.mark.parametrize("name", sc.__all__)
def test_every_public_name_is_what_it_says(name: str) -> None:
    found = getattr(sc, name)
    assert callable(found)
    assert found.__name__ == name
    assert found.__doc__


def test_no_module_hides_a_public_name() -> None:
    modules = {module.name for module in pkgutil.iter_modules(sc.__path__)}
    assert not modules & set(sc.__all__)


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="no attribute 'discovr'"):
        importlib.import_module("saecircuits").discovr  # noqa: B018


def test_importing_the_package_is_light() -> None:
    code = "import sys, saecircuits; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
