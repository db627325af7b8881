"""From loading to a published run, in families whose ends or norms are peculiar."""

from pathlib import Path
from typing import Any

import pytest
import torch

import saecircuits as sc
from saecircuits.features.texts import no_contexts
from saecircuits.splicing import splice
from tests.architectures import build
from tests.models import random_sae, toy_prompts

# Where their dictionaries sit: the first GPT's blocks show no stream that leaves them.
SITES = {
    "openai_gpt": ("blocks.0.hook_attn_out", "blocks.2.hook_resid_pre"),
    "opt_350m": ("blocks.0.hook_mlp_out", "blocks.1.hook_resid_post"),
    "olmo": ("blocks.0.hook_resid_post", "blocks.1.hook_mlp_out"),
}


@pytest.mark.parametrize("family", SITES)
def test_a_run_is_published(family: str, tmp_path: Path) -> None:
    bridge: Any = build(family, tmp_path / "model")
    d_in = bridge.cfg.d_model
    saes = {
        hook: random_sae("jumprelu", d_in=d_in, seed=seed)
        for seed, hook in enumerate(SITES[family])
    }
    model, prompts = splice(bridge, saes, name=family), toy_prompts(bridge)
    task = sc.Task("toy", "Words follow words.", prompts.subset([0, 1, 2]), prompts.subset([3, 4]))
    settings = sc.AttributionSettings(max_nodes=12)
    run = sc.discover(
        model, task, tmp_path / "run", settings=settings, nodes=4, contexts=no_contexts()
    )
    assert (run.folder / "report.html").is_file()
    effects = torch.tensor(run.graph.nodes["effect"].tolist())
    assert bool(effects.isfinite().all()) and float(effects.abs().max()) > 0
