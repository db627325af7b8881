"""An attention-only model, norms and patterns held, is the sum of its classical terms.

    logits at q  <-  token at k:   direct path  +  heads (skip-trigrams)  +  virtual heads

(Elhage et al. 2021; THEORY: in an attention-only model the expansion is AMFOTC's.) The other side
of the equation is the model itself, run with another embedding at k.
"""

from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch

import saecircuits as sc
from saecircuits.expansion import affine_run
from saecircuits.expansion.readouts import logit_map
from saecircuits.heads import direct_path, skip_trigrams, virtual_head
from saecircuits.splicing import SplicedModel, record_operator, splice
from saecircuits.splicing.anatomy import take_apart
from saecircuits.splicing.operators import FULL
from saecircuits.splicing.parts import token_embeddings
from saecircuits.theory import degree_spectrum
from tests.architectures import Float64Throughout
from tests.models import boot, random_sae

PROMPT = [0, 7, 3, 11, 7, 5]
KEY, OTHER = 2, 13


def _attention_only(folder: Path, kind: str) -> SplicedModel:
    from transformers import GPT2Config, LlamaConfig, LlamaForCausalLM

    from tests.models import WORDS, build_gpt2, rotary_sizes

    torch.manual_seed(4)
    ends: dict[str, Any] = {"vocab_size": WORDS, "bos_token_id": 0, "eos_token_id": 0}
    if kind == "llama":
        hf = LlamaForCausalLM(LlamaConfig(**rotary_sizes(), hidden_size=20))
    else:
        hf = build_gpt2(
            GPT2Config(
                **ends,
                n_positions=19,
                n_embd=14,
                n_layer=2,
                n_head=2,
                n_inner=5,
                initializer_range=0.35,
            )
        )
    bridge = boot(hf, folder)
    for name, parameter in bridge.named_parameters():
        if "mlp" in name:
            parameter.data.zero_()
    sae = random_sae("jumprelu", d_in=bridge.cfg.d_model)
    return splice(bridge, {"blocks.0.hook_resid_post": sae})


def _change_by_terms(model: SplicedModel, tokens: torch.Tensor) -> torch.Tensor:
    """Of the logits at every position: direct path, heads, virtual heads; `[3, pos, d_vocab]`."""
    anatomy = take_apart(model, tokens, FULL)
    layers = [block.attention for block in anatomy.blocks]
    held = [layer.pattern[0] / layer.norm.scale[0, :, 0] for layer in layers]
    heads = range(held[0].shape[0])
    old = int(tokens[0, KEY])

    def change(table: torch.Tensor) -> torch.Tensor:
        return table[OTHER] - table[old]

    at_key = torch.nn.functional.one_hot(torch.tensor(KEY), tokens.shape[1])
    direct = at_key[:, None] * change(direct_path(model))
    single, double = torch.zeros_like(direct), torch.zeros_like(direct)
    for layer, head in product(range(2), heads):
        written = change(skip_trigrams(model, layer, head).writes)
        single = single + held[layer][head, :, KEY, None] * written
    for first, second in product(heads, heads):
        written = change(virtual_head(model, tokens[0].tolist(), (0, first), (1, second)).writes)
        double = double + (held[1][second] @ held[0][first])[:, KEY, None] * written
    return torch.stack([direct, single, double]) / anatomy.unembedding.norm.scale[0]


def _change_in_the_model(model: SplicedModel, tokens: torch.Tensor) -> torch.Tensor:
    held = record_operator(model.bridge, tokens, kind="frozen")
    embeddings = token_embeddings(model)

    def put(tensor: torch.Tensor) -> torch.Tensor:
        changed = tensor.clone()
        changed[0, KEY] = embeddings[OTHER]
        return changed

    with torch.no_grad():
        clean = model.forward(tokens, operator=held)
        gained = model.forward(tokens, operator=held, at_tokens=put) - clean
    return (gained - gained.mean(-1, keepdim=True))[0]


def _change_by_degree(model: SplicedModel, tokens: torch.Tensor) -> torch.Tensor:
    """The same by the degrees of the polynomial pass, which knows of no heads."""
    run = affine_run(model, tokens[0], operator="frozen")
    embeddings = token_embeddings(model)
    source = run.source.clone()
    source[KEY] += embeddings[OTHER] - embeddings[int(tokens[0, KEY])]
    terms = degree_spectrum(source, run.steps) - degree_spectrum(run.source, run.steps)
    rows = [logit_map(run, terms, position) for position in range(tokens.shape[1])]
    gained = torch.stack(rows, 1)
    return gained - gained.mean(-1, keepdim=True)


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_the_classical_terms_are_the_whole_model(tmp_path: Path, kind: str) -> None:
    with Float64Throughout():
        model, tokens = _attention_only(tmp_path, kind), torch.tensor([PROMPT])
        found, expected = _change_by_terms(model, tokens), _change_in_the_model(model, tokens)
        by_degree = _change_by_degree(model, tokens)
    assert float(expected.abs().max()) > 0.1
    torch.testing.assert_close(found.sum(0), expected, rtol=1e-9, atol=1e-9)
    # Degree 0 is the direct path, degree 1 the heads, degree 2 the virtual heads.
    torch.testing.assert_close(by_degree[:3], found, rtol=1e-9, atol=1e-9)
    assert float(by_degree[3:].abs().max()) < 1e-12
    assert min(float(term.abs().max()) for term in found) > 1e-3


def test_the_classical_terms_are_the_whole_shipped_model() -> None:
    model, tokens = sc.load_model("induction"), torch.tensor([PROMPT])
    found, expected = _change_by_terms(model, tokens), _change_in_the_model(model, tokens)
    size = float(expected.abs().max())
    assert float((found.sum(0) - expected).abs().max()) < 1e-4 * size
    assert float((_change_by_degree(model, tokens)[:3] - found).abs().max()) < 1e-4 * size
