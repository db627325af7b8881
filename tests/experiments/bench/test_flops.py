"""The counts, against torch's own of the products that are carried out."""

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from experiments.bench.engines import ENGINES
from experiments.bench.flops import edge_terms, node_terms
from experiments.bench.sizes import SIZES, Loaded, load_random
from experiments.bench.work import counted_flop, prepare, set_up
from tests.experiments.bench.sizes import TINY

# Long rows of products, so that little is spent beside them.
WIDE = replace(TINY, d_model=130, d_mlp=514, d_sae=307, active=17, n_tokens=11)


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    return load_random(WIDE)


def test_edges_cost_what_the_terms_say(loaded: Loaded) -> None:
    work = prepare(loaded)
    counted = counted_flop(set_up(ENGINES["factorised"], work), work.targets)
    needed = sum(edge_terms(WIDE).values())
    assert needed <= counted <= 1.15 * needed


def test_a_forward_pass_costs_what_the_terms_say(loaded: Loaded) -> None:
    terms = node_terms(WIDE)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        loaded.model.forward(loaded.prompts.clean_tokens)
    forward = terms["blocks"] + terms["attention"] + terms["unembedding"]
    assert counter.get_total_flops() == forward


def test_a_backward_pass_costs_what_the_terms_say(loaded: Loaded) -> None:
    leaves: list[torch.Tensor] = []

    def leaf(tokens: torch.Tensor) -> torch.Tensor:
        leaves.append(tokens.detach().requires_grad_())
        return leaves[0]

    logits = loaded.model.forward(loaded.prompts.clean_tokens, at_tokens=leaf)
    with FlopCounterMode(display=False) as counter:
        torch.autograd.grad(logits.sum(), leaves)
    assert counter.get_total_flops() == node_terms(WIDE)["backward"]


def test_encoders_cost_what_the_terms_say(loaded: Loaded) -> None:
    stream = torch.randn(1, WIDE.n_tokens + 1, WIDE.d_model)
    with FlopCounterMode(display=False) as counter:
        for splice in loaded.model.splices:
            splice.dictionary.encode(stream)
    assert counter.get_total_flops() == node_terms(WIDE)["encoders"]


def test_all_edges_of_gpt2_small_cost_what_was_published() -> None:
    # 0.160 TFLOP leaves out one product: the sources' way through W_Q.
    size = SIZES["gpt2-small"]
    terms = edge_terms(size)
    W_Q = terms["sources"] // 3
    assert sum(terms.values()) - W_Q == pytest.approx(0.160e12, rel=0.03)
    assert size.n_edges == 11 * 60 * 60 * 136 == 5_385_600
