"""Path patching of heads, against the model run with hooks of its own."""

import pytest
import torch

from saecircuits.errors import InputError
from saecircuits.heads import path_effects, repeated_tokens
from tests.models import Toy, build_toy


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    return build_toy(tmp_path_factory.mktemp("toy"))


def test_the_key_path_by_hand(toy: Toy) -> None:
    model = toy.model
    tokens = repeated_tokens(model, prompts=6, length=5)
    found = path_effects(model, tokens, (0, 1), (2, 0), offset=4, start=6).set_index("path")
    bridge, seen = model.bridge, {}
    layer = "blocks.2"

    def keep(tensor, hook):
        seen[hook.name] = tensor.detach().clone()

    names = ("blocks.0.attn.hook_z", f"{layer}.hook_in", f"{layer}.attn.hook_pattern")
    with torch.no_grad(), bridge.hooks(fwd_hooks=[(name, keep) for name in names]):
        clean = bridge(tokens)
    z = next(value for name, value in seen.items() if value.ndim == 4 and value.shape[1] == 11)
    written = z[:, :, 1] @ bridge.blocks[0].attn.W_O[1]
    stream = seen[f"{layer}.hook_in"] - written + written.mean(0)
    block = bridge.blocks[2]
    with torch.no_grad():
        others = block.ln1(stream) @ block.attn.W_K[0] + block.attn.b_K[0]

    def put(tensor, hook):
        tensor = tensor.clone()
        tensor[:, :, 0] = others
        return tensor

    hooks = [(f"{layer}.attn.hook_k", put), (f"{layer}.attn.hook_pattern", keep)]
    with torch.no_grad(), bridge.hooks(fwd_hooks=hooks):
        patched = bridge(tokens)
    for path, logits in (("none", clean), ("k", patched)):
        chances = logits[:, 6:-1].log_softmax(-1).gather(-1, tokens[:, 7:, None])
        assert found.loc[path, "loss"] == pytest.approx(-float(chances.mean()), rel=1e-9)
    pattern = next(value for name, value in seen.items() if value.shape[-1] == 11)[:, 0]
    looked = torch.stack([pattern[:, query, query - 4] for query in range(6, 11)])
    assert found.loc["k", "attention"] == pytest.approx(float(looked.mean()), rel=1e-9)
    assert found.loc["k", "attention_lost"] != 0


def test_values_change_no_attention(toy: Toy) -> None:
    tokens = repeated_tokens(toy.model, prompts=6, length=5)
    found = path_effects(toy.model, tokens, (0, 0), (1, 1), offset=4, start=6).set_index("path")
    assert found.loc["v", "attention_lost"] == pytest.approx(0, abs=1e-12)
    assert found.loc["v", "loss_gained"] != 0
    assert found.loc["none", "loss_gained"] == 0


def test_a_reader_has_to_be_behind_the_writer(toy: Toy) -> None:
    tokens = repeated_tokens(toy.model, prompts=2, length=5)
    with pytest.raises(InputError, match="later layer"):
        path_effects(toy.model, tokens, (1, 0), (1, 1), offset=4, start=6)
