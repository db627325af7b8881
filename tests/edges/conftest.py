"""Models whose MLPs have transcoders: what one place reads comes by different components there.

A feature of a transcoder reads beside the MLP, its error node reads through it, and skip weights
let both by.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from saecircuits.splicing import splice
from tests.architectures import Float64Throughout, build
from tests.models import Toy, random_sae, toy_prompts, uneven_prompts

_READS = ("ln2.hook_normalized", "mlp.hook_in")


def _transcoders(bridge: Any, reads: tuple[str, str] = _READS) -> dict[str, Any]:
    """One at every layer, with skip weights at odd ones."""
    return {
        f"blocks.{layer}.hook_mlp_out": random_sae(
            "jumprelu_skip_transcoder" if layer % 2 else "transcoder",
            d_in=bridge.cfg.d_model,
            seed=layer,
            metadata={"hook_name": f"blocks.{layer}.{reads[layer % 2]}"},
        )
        for layer in range(bridge.cfg.n_layers)
    }


def _bridge(name: str, factory: pytest.TempPathFactory) -> Any:
    with Float64Throughout():
        return build(name, factory.mktemp(name))


@pytest.fixture(scope="session")
def transcoders(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """A random GPT-2 with transcoders alone."""
    bridge = _bridge("gpt2", tmp_path_factory)
    return Toy(splice(bridge, _transcoders(bridge), name="toy"), uneven_prompts(bridge))


@pytest.fixture(scope="session")
def transcoders_and_saes(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """A random GPT-2 with transcoders at its ends and SAEs between and before them."""
    bridge = _bridge("gpt2", tmp_path_factory)
    dictionaries = {
        **_transcoders(bridge),
        "blocks.0.hook_resid_pre": random_sae("jumprelu", seed=11),
        "blocks.1.hook_attn_out": random_sae("standard", seed=12),
        "blocks.1.hook_mlp_out": random_sae("gated", seed=13),
    }
    return Toy(splice(bridge, dictionaries, name="toy"), toy_prompts(bridge))


@pytest.fixture(scope="session")
def transcoders_neox(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """GPT-NeoX: the MLP reads the stream that the attention layer reads, by a norm of its own."""
    bridge = _bridge("neox", tmp_path_factory)
    return Toy(splice(bridge, _transcoders(bridge), name="neox"), toy_prompts(bridge))


@pytest.fixture(scope="session")
def transcoders_phi(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """Phi: the same, and one norm for both."""
    bridge = _bridge("phi", tmp_path_factory)
    dictionaries = _transcoders(bridge, ("mlp.hook_in", "mlp.hook_in"))
    return Toy(splice(bridge, dictionaries, name="phi"), toy_prompts(bridge))


@pytest.fixture
def in_float64() -> Iterator[None]:
    """For models that would round to float32 inside; GPT-2 does not."""
    with Float64Throughout():
        yield
