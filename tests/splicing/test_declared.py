"""What dictionaries say of themselves against where they are put."""

from pathlib import Path
from typing import Any

import pytest

from saecircuits.errors import DictionaryError, ModelError
from saecircuits.splicing import splice
from tests.models import build_bridge, random_sae

HERE = "blocks.1.hook_resid_post"


@pytest.fixture(scope="module")
def bridge(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return build_bridge(tmp_path_factory.mktemp("declared"))


def _spliced(bridge: Any, *, name: str = "toy", insist: bool = False, **metadata: str) -> Any:
    sae = random_sae("jumprelu", metadata=metadata)
    return splice(bridge, {HERE: sae}, name=name, insist=insist)


@pytest.mark.parametrize(
    "trained_at",
    [HERE, "blocks.1.hook_out", "blocks.2.hook_resid_pre", "blocks.2.hook_in"],
)
def test_the_same_tensor_has_several_names(bridge: Any, trained_at: str) -> None:
    assert _spliced(bridge, hook_name=trained_at).hooks == (HERE,)


@pytest.mark.parametrize(
    "trained_at",
    ["blocks.0.hook_resid_post", "blocks.1.hook_resid_pre", "blocks.1.hook_mlp_out"],
)
def test_another_place_is_refused_unless_insisted_on(bridge: Any, trained_at: str) -> None:
    with pytest.raises(DictionaryError, match=f"{HERE}.*trained at '{trained_at}'"):
        _spliced(bridge, hook_name=trained_at)
    model = _spliced(bridge, hook_name=trained_at, insist=True)
    (said,) = model.describe()["insisted"]
    assert trained_at in said


@pytest.mark.parametrize("made_for", ["gpt2", "gpt2-small", "openai-community/gpt2"])
def test_another_model_is_refused_unless_insisted_on(bridge: Any, made_for: str) -> None:
    with pytest.raises(DictionaryError, match=f"trained on '{made_for}', but the model is"):
        _spliced(bridge, name="EleutherAI/pythia-160m", model_name=made_for)
    model = _spliced(bridge, name="pythia-160m", model_name=made_for, insist=True)
    assert len(model.describe()["insisted"]) == 1


def test_names_that_nobody_knows_say_nothing(bridge: Any) -> None:
    for name, made_for in (("gpt2", "gpt2-small"), ("mine", "gpt2-small"), ("gpt2", "mine")):
        assert "insisted" not in _spliced(bridge, name=name, model_name=made_for).describe()


def test_processed_weights_are_refused(tmp_path: Path) -> None:
    bridge = build_bridge(tmp_path)
    bridge.enable_compatibility_mode(disable_warnings=True)
    with pytest.raises(ModelError, match=r"were folded or centred.*no_processing=True"):
        _spliced(bridge)


def test_names_alone_change_nothing(tmp_path: Path) -> None:
    bridge = build_bridge(tmp_path)
    bridge.enable_compatibility_mode(disable_warnings=True, no_processing=True)
    assert _spliced(bridge).hooks == (HERE,)
