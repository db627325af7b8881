"""Virtual weights between features are what scores and moved features are made of."""

from pathlib import Path

import pytest
import torch

from saecircuits.errors import InputError
from saecircuits.heads import attention, moved, ov, qk
from saecircuits.splicing import SplicedModel, observe, splice
from saecircuits.splicing.anatomy import take_apart
from saecircuits.splicing.operators import FULL
from saecircuits.splicing.parts import stream_parts
from tests.architectures import Float64Throughout, build
from tests.models import build_bridge, random_sae

PROMPT = [0, 7, 3, 11, 7, 3, 19]
LAYER, HEAD, QUERY = 1, 1, 5


def _spliced(name: str, folder: Path) -> SplicedModel:
    bridge = build(name, folder)
    d_in = bridge.cfg.d_model
    hooks = ("blocks.0.hook_resid_post", "blocks.1.hook_resid_post")
    saes = {hook: random_sae("jumprelu", d_in=d_in, seed=9 + i) for i, hook in enumerate(hooks)}
    return splice(bridge, saes)


@pytest.mark.parametrize("name", ["gpt2", "llama", "gptj", "opt"])
def test_pairs_of_features_are_virtual_weights_at_work(tmp_path: Path, name: str) -> None:
    with Float64Throughout():
        model = _spliced(name, tmp_path)
        key = 3
        found = attention(model, PROMPT, LAYER, HEAD, query=QUERY, key=key).pairs
        weights = qk(model, LAYER, HEAD, distance=QUERY - key)
        acts = observe(model, torch.tensor([PROMPT])).sites[0].features[0]
        scale = take_apart(model, torch.tensor([PROMPT]), FULL).blocks[LAYER].attention.norm.scale
    both = found["query_term"].str.startswith("feat") & found["key_term"].str.startswith("feat")
    checked = found[both & (found["score"] != 0)]
    assert len(checked) > 5
    for row in checked.itertuples():
        source, target = (
            int(str(term).split()[1]) for term in (row.query_term, row.key_term)
        )  # fmt: skip
        held = scale[0, QUERY, 0] * scale[0, key, 0]
        expected = weights[source, target] * acts[QUERY, source] * acts[key, target] / held
        assert row.score == pytest.approx(float(expected), rel=1e-9)


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2", "neox", "olmo2"])
def test_what_is_moved_adds_up_to_what_the_head_writes(tmp_path: Path, name: str) -> None:
    with Float64Throughout():
        model = _spliced(name, tmp_path)
        tokens = torch.tensor([PROMPT])
        found = moved(model, PROMPT, LAYER, HEAD, query=QUERY)
        parts = stream_parts(model, tokens, take_apart(model, tokens, FULL), LAYER + 1)
    (written,) = (p.stream[0, QUERY] for p in parts if p.component == f"L{LAYER}.H{HEAD}")
    dictionary = model.splices[1].dictionary
    sums = found.groupby("target")["effect"].sum()
    expected = dictionary.encoder_rows(torch.tensor(sums.index.to_numpy())) @ written
    torch.testing.assert_close(torch.tensor(sums.to_numpy()), expected, rtol=1e-9, atol=1e-9)


def test_what_is_moved_is_a_virtual_weight_at_work(tmp_path: Path) -> None:
    with Float64Throughout():
        model = _spliced("gpt2", tmp_path)
        tokens = torch.tensor([PROMPT])
        found = moved(model, PROMPT, LAYER, HEAD, query=QUERY)
        weights = ov(model, LAYER, HEAD)
        acts = observe(model, tokens).sites[0].features[0]
        layer = take_apart(model, tokens, FULL).blocks[LAYER].attention
    for row in found[found["term"].str.startswith("feature")].head(20).itertuples():
        source, key = int(str(row.term).split()[1]), int(row.key)
        held = layer.pattern[0, HEAD, QUERY, key] / layer.norm.scale[0, key, 0]
        expected = held * weights[int(row.target), source] * acts[key, source]
        assert row.effect == pytest.approx(float(expected), rel=1e-9)


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    bridge = build_bridge(tmp_path)
    model = splice(bridge, {"blocks.0.hook_resid_post": random_sae("jumprelu")})
    with pytest.raises(InputError, match=r"behind layer 1; splice one at blocks\.1"):
        ov(model, 1, 0)
    with pytest.raises(InputError, match="no dictionary"):
        qk(model, 2, 0)
    with pytest.raises(InputError, match="query 9"):
        moved(model, PROMPT, 1, 0, query=9)
