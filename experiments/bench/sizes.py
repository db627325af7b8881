"""What is measured: models of two published sizes with random weights, and the shipped model.

Cost does not depend on what weights say, so a published size needs no download: its model is drawn
at random, with TopK dictionaries on the stream after every block, whose rows are random unit
vectors and whose encoder is the decoder's transpose.
"""

from dataclasses import dataclass
from typing import Any, Final, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from saecircuits.choices import name_of
from saecircuits.edges.settings import AttributionSettings
from saecircuits.nodes.units import Positions
from saecircuits.splicing import Dictionary, SplicedModel, splice
from saecircuits.splicing.booting import random_bridge
from saecircuits.splicing.loading import load_model
from saecircuits.tasks import PromptPair, Prompts, load_task, tokenize

SHIPPED: Final = "stories"


@dataclass(frozen=True)
class Size:
    """A model's shape, its dictionaries', and the prompt's.

    Attributes:
        source: where the size is published.
        active: features of a dictionary that are active at a token.
        n_tokens: of the one prompt, BOS not counted, which is in no unit.
    """

    name: str
    source: str
    family: Literal["gpt2", "neox"]
    n_layers: int
    d_model: int
    n_heads: int
    d_mlp: int
    d_vocab: int
    d_sae: int
    active: int
    n_tokens: int

    @property
    def n_edges(self) -> int:
        """Causal pairs of features of neighbouring layers: the source's token is not later."""
        pairs = self.n_tokens * (self.n_tokens + 1) // 2
        return (self.n_layers - 1) * self.active**2 * pairs

    @property
    def n_sources(self) -> int:
        """Active features of all layers."""
        return self.n_layers * self.active * self.n_tokens

    @property
    def n_targets(self) -> int:
        """Active features of all layers but the first, which no other layer's reach."""
        return self.n_sources - self.active * self.n_tokens


SIZES: Final = {
    size.name: size
    for size in (
        Size(
            name="gpt2-small",
            source="GPT-2 small with 24,576 features, as many as its published SAEs of the stream "
            "have (Bloom 2024), on the stream after each of 12 layers, 60 active per token",
            family="gpt2",
            n_layers=12,
            d_model=768,
            n_heads=12,
            d_mlp=3072,
            d_vocab=50257,
            d_sae=24576,
            active=60,
            n_tokens=16,
        ),
        Size(
            name="pythia-70m",
            source="Pythia-70M with 32,768 features a site, as in Sparse Feature Circuits (Marks "
            "et al. 2024); here on the stream after each of 6 layers, 64 active per token",
            family="neox",
            n_layers=6,
            d_model=512,
            n_heads=8,
            d_mlp=2048,
            d_vocab=50304,
            d_sae=32768,
            active=64,
            n_tokens=16,
        ),
    )
}


@dataclass(frozen=True, eq=False)
class Loaded:
    """A model and the prompts that it is measured on.

    Attributes:
        max_nodes: edges are computed among so many nodes, the strongest; None for all features
            that are active.
    """

    model: SplicedModel
    prompts: Prompts
    positions: Positions
    baseline: str
    max_nodes: int | None


def load_shipped(*, limit: int | None = None) -> Loaded:
    """The shipped model on the training prompts of `pronoun`, with the default settings."""
    model, settings = load_model(SHIPPED), AttributionSettings()
    prompts = load_task("pronoun", model, limit=limit).train
    baseline = name_of(settings.baseline)
    return Loaded(model, prompts, settings.positions, baseline, settings.max_nodes)


def load_random(size: Size, *, seed: int = 0) -> Loaded:
    """A random model of a size, and one prompt pair for it that differs in the first token."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        bridge = random_bridge(_config(size), make_tokenizer(size.d_vocab))
        dictionaries = {
            f"blocks.{layer}.hook_resid_post": _dictionary(size) for layer in range(size.n_layers)
        }
    model = splice(bridge, dictionaries, name=size.name)
    words = [word(1 + (37 * place) % (size.d_vocab - 4)) for place in range(size.n_tokens)]
    pair = PromptPair(
        clean=" ".join(words),
        corrupted=" ".join([word(size.d_vocab - 3), *words[1:]]),
        answer=(word(size.d_vocab - 2),),
        wrong=(word(size.d_vocab - 1),),
        id="0",
        clean_spans=(),
        corrupted_spans=(),
    )
    prompts = tokenize([pair], model.tokenizer, n_ctx=model.n_ctx)
    return Loaded(model, prompts, "each", "zero", None)


def _config(size: Size) -> Any:
    import transformers

    n_ctx = max(64, size.n_tokens + 1)
    ends: dict[str, Any] = {"bos_token_id": 0, "eos_token_id": 0, "vocab_size": size.d_vocab}
    match size.family:
        case "gpt2":
            return transformers.GPT2Config(
                n_layer=size.n_layers,
                n_embd=size.d_model,
                n_head=size.n_heads,
                n_inner=size.d_mlp,
                n_positions=n_ctx,
                **ends,
            )
        case "neox":
            return transformers.GPTNeoXConfig(
                num_hidden_layers=size.n_layers,
                hidden_size=size.d_model,
                num_attention_heads=size.n_heads,
                intermediate_size=size.d_mlp,
                max_position_embeddings=n_ctx,
                **ends,
            )


def make_tokenizer(d_vocab: int) -> Any:
    """Words `w1`, `w2`, ... of one token each, and BOS."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    end = "<|endoftext|>"
    vocabulary = {end: 0, **{word(number): number for number in range(1, d_vocab)}}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token=end))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token=end, eos_token=end, pad_token=end
    )


def word(number: int) -> str:
    return f"w{number}"


def _dictionary(size: Size) -> Dictionary:
    W_dec = unit_rows(torch.randn(size.d_sae, size.d_model, device="cpu"))
    return Dictionary(
        kind="topk",
        W_enc=W_dec.T.contiguous(),
        b_enc=W_dec.new_zeros(size.d_sae),
        W_dec=W_dec,
        b_dec=W_dec.new_zeros(size.d_model),
        shift=W_dec.new_zeros(size.d_model),
        k=size.active,
    )


def unit_rows(vectors: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    return vectors.div_(vectors.norm(dim=1, keepdim=True))
