"""What a run takes at a real model's width: `python -m experiments.real_width.run --active 1600`.

A random model of Gemma 2 2B's shape (d_model 2,304, 8 heads of 256, MLPs of 9,216), cut to three
layers and 4,096 words, with JumpReLU dictionaries of 16,384 features behind the first two layers,
of which so many are active per token. `discover` finds, validates and publishes a circuit of 60
nodes on two prompt pairs of 12 tokens in each half, and looks at its features on 2,048 tokens.
Prints one JSON object with the peak of the process, in bytes, at the end of every stage.
"""

import argparse
import json
import resource
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers

import saecircuits as sc
from saecircuits.features.texts import Contexts
from saecircuits.memory_limit import read_limit
from saecircuits.splicing import Dictionary, SplicedModel, splice
from saecircuits.splicing.booting import random_bridge
from saecircuits.tasks import PromptPair, Task, tokenize


@dataclass(frozen=True)
class Width:
    """Sizes of the model and its dictionaries; Gemma 2 2B's by default."""

    d_model: int = 2304
    n_heads: int = 8
    d_head: int = 256
    d_mlp: int = 9216
    n_layers: int = 3
    d_vocab: int = 4096
    d_sae: int = 16_384
    n_tokens: int = 12


def measure(width: Width, *, active: int, limit: str, nodes: int = 60) -> dict[str, Any]:
    """Discovers a circuit; the peak of the process after each stage, and what was found.

    Args:
        active: features that are active per token, on average.
        limit: for everything beside the model.
    """
    model = build_model(width, active=active)
    task = build_task(model, width)
    begun, peaks = time.process_time(), {"loading": _peak()}
    stages: list[str] = []

    def progress(stage: str, share: float) -> None:
        if stages and stages[-1] != stage:
            peaks[stages[-1]] = _peak()
            print(stages[-1], peaks[stages[-1]], time.process_time(), file=sys.stderr)
        stages.append(stage)

    with TemporaryDirectory() as folder:
        run = sc.discover(
            model,
            task,
            Path(folder) / "run",
            settings=sc.AttributionSettings(max_nodes=nodes, memory_limit=read_limit(limit)),
            nodes=nodes,
            contexts=_some_text(width),
            progress=progress,
        )
    return {
        "active": active,
        "limit": limit,
        "cpu_seconds": round(time.process_time() - begun, 1),
        "edges": len(run.graph.edges),
        "peak_bytes": {**peaks, "all": _peak()},
    }


def build_model(width: Width, *, active: int) -> SplicedModel:
    """A random model with random dictionaries of which so many features are active per token."""
    torch.manual_seed(0)
    config = transformers.Gemma2Config(
        hidden_size=width.d_model,
        num_attention_heads=width.n_heads,
        num_key_value_heads=width.n_heads // 2,
        head_dim=width.d_head,
        intermediate_size=width.d_mlp,
        num_hidden_layers=width.n_layers,
        vocab_size=width.d_vocab,
        max_position_embeddings=64,
        query_pre_attn_scalar=width.d_head,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
    )
    bridge = random_bridge(config, _tokenizer(width.d_vocab))
    hooks = [f"blocks.{layer}.hook_resid_post" for layer in range(2)]
    model = splice(bridge, {hook: _dictionary(width) for hook in hooks}, name="gemma-2-2b-shaped")
    tokens = torch.arange(1, 61, device="cpu")[None]
    streams, _ = model.streams(tokens)
    return replace(
        model,
        splices=tuple(
            replace(one, dictionary=_with_threshold(one.dictionary, stream[0], active))
            for one, stream in zip(model.splices, streams[1:], strict=False)
        ),
    )


def _dictionary(width: Width) -> Dictionary:
    W_dec = torch.randn(width.d_sae, width.d_model, device="cpu")
    W_dec /= W_dec.norm(dim=1, keepdim=True)
    return Dictionary(
        kind="jumprelu",
        W_enc=W_dec.T.contiguous(),
        b_enc=W_dec.new_zeros(width.d_sae),
        W_dec=W_dec,
        b_dec=W_dec.new_zeros(width.d_model),
        shift=W_dec.new_zeros(width.d_model),
        threshold=W_dec.new_zeros(width.d_sae),
    )


def _with_threshold(dictionary: Dictionary, stream: torch.Tensor, active: int) -> Dictionary:
    before = (stream @ dictionary.W_enc).flatten()
    least = before.topk(active * len(stream)).values[-1]
    return replace(dictionary, threshold=least.expand(dictionary.d_sae).clone())


def _tokenizer(d_vocab: int) -> Any:
    end = "<bos>"
    words = Tokenizer(
        models.WordLevel({end: 0, **{f"w{n}": n for n in range(1, d_vocab)}}, unk_token=end)
    )
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token=end, eos_token=end, pad_token=end
    )


def build_task(model: SplicedModel, width: Width) -> Task:
    """Two pairs in each half that differ in their third word."""
    pairs = []
    for number in range(4):
        first = 1 + 20 * number
        words = [f"w{first + place}" for place in range(width.n_tokens)]
        other = [*words[:2], f"w{200 + number}", *words[3:]]
        pair = PromptPair(
            clean=" ".join(words),
            corrupted=" ".join(other),
            answer=(f"w{100 + number}",),
            wrong=(f"w{110 + number}",),
            id=str(number),
        )
        pairs.append(pair)
    prompts = tokenize(pairs, model.tokenizer, n_ctx=model.n_ctx)
    return Task("random words", "Random words.", prompts.subset([0, 1]), prompts.subset([2, 3]))


def _some_text(width: Width) -> Contexts:
    """Random words; the model's own samples, which are as good, take longer."""
    generator = torch.Generator().manual_seed(0)
    text = torch.randint(1, width.d_vocab, (32, 64), generator=generator, device="cpu")
    text[:, 0] = 0
    return Contexts(text=text, source="random words", licence="none needed")


def _peak() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main(arguments: list[str] | None = None) -> None:
    """Discovers one circuit and prints what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--active", type=int, default=100)
    parser.add_argument("--limit", default="4GB")
    chosen = parser.parse_args(arguments)
    print(json.dumps(measure(Width(), active=chosen.active, limit=chosen.limit), indent=2))


if __name__ == "__main__":
    main()
