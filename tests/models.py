"""Small random models and dictionaries for tests. Sizes are unequal primes: a swapped axis fails.

Everything is real: a Hugging Face GPT-2, Llama or Gemma 2 saved to disk, transformer_lens's bridge
over it, and sae_lens SAE and transcoder objects with random weights.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from sae_lens import SAE
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn
from transformer_lens.model_bridge import TransformerBridge
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPT2Model,
    GPT2PreTrainedModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from saecircuits.nodes.contrast import Contrast
from saecircuits.nodes.experiment import Experiment
from saecircuits.nodes.units import Positions
from saecircuits.splicing import SplicedModel, splice
from saecircuits.tasks import PromptPair, Prompts, tokenize

WORDS = 23
D_MODEL = 14
D_SAE = 31
N_LAYERS = 3


@dataclass(frozen=True)
class Toy:
    """A spliced random model and prompt pairs for it."""

    model: SplicedModel
    prompts: Prompts

    @property
    def rounding(self) -> float:
        """What two ways of computing one number may differ by.

        Hugging Face's RMSNorm works in float32 whatever it is given, and transformer_lens's, which
        takes its place wherever a scale is held, in float64.
        """
        return 1e-11 if self.model.name == "toy" else 2e-5


def build_tokenizer(n_words: int = WORDS) -> Any:
    """Words `w1`, `w2`, ... one token each, and BOS.

    A `PreTrainedTokenizerFast`, whose special tokens no type checker sees: they are made when asked
    for.
    """
    vocabulary = {"<|endoftext|>": 0, **{f"w{number}": number for number in range(1, n_words)}}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<|endoftext|>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|endoftext|>",
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        name_or_path="local",
    )


def build_bridge(folder: Path, *, n_layers: int = N_LAYERS, scale: float = 0.35) -> Any:
    """A random GPT-2 in float64 with weights large enough for strong non-linearity."""
    torch.manual_seed(5)
    config = GPT2Config(
        vocab_size=WORDS,
        n_positions=19,
        n_embd=D_MODEL,
        n_layer=n_layers,
        n_head=2,
        n_inner=29,
        activation_function="gelu",
        initializer_range=scale,
        bos_token_id=0,
        eos_token_id=0,
    )
    return boot(build_gpt2(config), folder)


def build_gpt2(config: GPT2Config) -> GPT2LMHeadModel:
    """A random GPT-2, drawn here as transformers 5.24 draws it: other versions draw otherwise."""
    with patch.object(GPT2PreTrainedModel, "_init_weights", lambda *_: None):
        drawn = GPT2Model(config)
    scale = config.initializer_range
    for name, weight in drawn.named_parameters():
        if name.endswith("weight") and "ln_" not in name:
            nn.init.normal_(weight, std=scale)
        if name.endswith("c_proj.weight"):
            nn.init.normal_(weight, std=scale / math.sqrt(2 * config.n_layer))
    nn.init.normal_(nn.Linear(config.n_embd, config.vocab_size, bias=False).weight)  # the tied one
    with torch.random.fork_rng(devices=[]):
        model = GPT2LMHeadModel(config)
    model.transformer.load_state_dict(drawn.state_dict())
    return model


def build_llama(folder: Path) -> Any:
    """A random Llama: rotary positions, RMSNorm, gated MLP, two query heads to a key head."""
    torch.manual_seed(6)
    config = LlamaConfig(**rotary_sizes(), hidden_size=20)
    return boot(LlamaForCausalLM(config), folder)


def build_gemma2(folder: Path, *, softcap: float | None = 3.0) -> Any:
    """A random Gemma 2: norms after the blocks too, a sliding window, softcapped logits."""
    torch.manual_seed(7)
    config = Gemma2Config(
        **rotary_sizes(),
        hidden_size=28,
        sliding_window=4,
        query_pre_attn_scalar=6,
        final_logit_softcapping=softcap,
    )
    return boot(Gemma2ForCausalLM(config), folder)


def rotary_sizes() -> dict[str, Any]:
    """Sizes of a model with rotary positions, whose heads are wider together than the stream."""
    return {
        "vocab_size": WORDS,
        "intermediate_size": 29,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 6,
        "max_position_embeddings": 19,
        "initializer_range": 0.35,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "pad_token_id": None,
    }


def boot(model: Any, folder: Path) -> Any:
    """The bridge over a Hugging Face model in float64, with random biases and norm weights."""
    model = model.double().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0, 0.1)
            elif "norm" in name or ".ln_" in name:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    model.save_pretrained(folder)
    build_tokenizer().save_pretrained(folder)
    return TransformerBridge.boot_transformers(str(folder), device="cpu", dtype=torch.float64)


def random_sae(architecture: str, *, d_in: int = D_MODEL, seed: int = 0, **options: Any) -> SAE:
    """A sae_lens inference SAE with random weights, about a third of its features active."""
    generator = torch.Generator().manual_seed(seed)
    is_transcoder = "transcoder" in architecture
    settings = {
        "architecture": architecture,
        "d_in": d_in,
        "d_sae": D_SAE,
        "dtype": "float64",
        "device": "cpu",
        "apply_b_dec_to_input": not is_transcoder,
        "normalize_activations": "none",
        "metadata": {},
        **options,
    }
    if is_transcoder:
        settings.setdefault("d_out", d_in)
    sae = SAE.from_dict(settings)
    with torch.no_grad():
        for name, parameter in sae.named_parameters():
            size = 1 / d_in**0.5 if name.startswith("W_") else 0.2
            parameter.copy_(torch.randn(parameter.shape, generator=generator).double() * size)
            if name == "threshold":
                parameter.abs_()
    return sae


@torch.no_grad()
def fitted(sae: SAE, bridge: Any, hook: str, *, read_hook: str | None = None) -> SAE:
    """The same SAE with the decoder that describes the model best: it explains some variance."""
    bridge_tokens = torch.arange(1, 1 + 12 * 17) * 7 % WORDS
    seen: dict[str, torch.Tensor] = {}

    def keep(tensor: torch.Tensor, hook: Any) -> None:
        seen[hook.name] = tensor.detach()

    names = {name: bridge.hook_dict[name].name for name in (hook, read_hook or hook)}
    hooks = [(name, keep) for name in set(names.values())]
    with bridge.hooks(fwd_hooks=hooks):
        bridge(bridge_tokens.unflatten(0, (12, 17)))
    read, written = (seen[names[name]].flatten(0, 1) for name in (read_hook or hook, hook))
    acts = sae.encode(read.to(sae.W_enc))
    decoder = torch.linalg.lstsq(acts.double(), (written - sae.b_dec).double(), driver="gelsd")
    sae.W_dec.copy_(decoder.solution.to(sae.W_dec))
    return sae


def boot_again(folder: Path) -> Any:
    """The bridge over a saved model once more, in float32, as every device has it."""
    return TransformerBridge.boot_transformers(str(folder), device="cpu", dtype=torch.float32)


def build_toy(folder: Path, *, mixed: bool = False) -> Toy:
    """A spliced random model: residual sites only, or every kind of site at once."""
    return spliced_toy(build_bridge(folder), mixed=mixed)


def spliced_toy(bridge: Any, *, mixed: bool = False) -> Toy:
    """That model from its bridge."""
    if mixed:
        dictionaries = {
            "blocks.0.hook_resid_pre": random_sae("jumprelu", seed=1),
            "blocks.0.hook_attn_out": random_sae("standard", seed=2),
            "blocks.1.attn.hook_z": random_sae("jumprelu", seed=3),
            "blocks.1.hook_mlp_out": random_sae(
                "skip_transcoder",
                seed=4,
                metadata={
                    "hook_name": "blocks.1.ln2.hook_normalized",
                    "hook_name_out": "blocks.1.hook_mlp_out",
                },
            ),
            "blocks.1.hook_resid_post": random_sae("gated", seed=5),
            "blocks.2.hook_mlp_out": random_sae("topk", seed=6, k=7),
        }
    else:
        dictionaries = {
            f"blocks.{layer}.hook_resid_post": random_sae("jumprelu", seed=layer)
            for layer in range(N_LAYERS)
        }
    return Toy(model=splice(bridge, dictionaries, name="toy"), prompts=toy_prompts(bridge))


def build_unusual_toy(bridge: Any) -> Toy:
    """A GPT-2 whose dictionaries normalise every token, or have features with signs."""
    norm: dict[str, Any] = {"normalize_activations": "layer_norm"}
    length: dict[str, Any] = {"normalize_activations": "constant_norm_rescale"}
    dictionaries = {
        "blocks.0.hook_resid_pre": random_sae("jumprelu", seed=31, **norm),
        "blocks.0.hook_mlp_out": random_sae(
            "jumprelu_skip_transcoder",
            seed=32,
            metadata={"hook_name": "blocks.0.mlp.hook_in"},
            **norm,
        ),
        "blocks.1.attn.hook_z": random_sae("abstopk", seed=33, k=7),
        "blocks.1.hook_resid_post": random_sae("topk", seed=34, k=7, **length),
        "blocks.2.hook_attn_out": random_sae("gated", seed=35, **norm),
        "blocks.2.hook_resid_post": random_sae("abstopk", seed=36, k=7, **norm),
    }
    return Toy(model=splice(bridge, dictionaries, name="toy"), prompts=toy_prompts(bridge))


def build_places_toy(bridge: Any) -> Toy:
    """A GPT-2 with dictionaries of its embeddings and of the streams before its MLPs."""
    reads = {"hook_name": "blocks.1.hook_resid_mid", "hook_name_out": "blocks.1.hook_mlp_out"}
    dictionaries = {
        "hook_embed": random_sae("jumprelu", seed=41),
        "blocks.0.hook_resid_mid": random_sae("gated", seed=42),
        "blocks.1.hook_attn_out": random_sae("standard", seed=43),
        "blocks.1.hook_resid_mid": random_sae("jumprelu", seed=44),
        "blocks.1.hook_mlp_out": random_sae("skip_transcoder", seed=45, metadata=reads),
        "blocks.2.hook_mlp_out": random_sae("topk", seed=46, k=7),
    }
    return Toy(model=splice(bridge, dictionaries, name="toy"), prompts=toy_prompts(bridge))


def build_rotary_toy(bridge: Any, *, d_model: int, d_heads: int) -> Toy:
    """A Llama or Gemma 2 with a dictionary at every kind of site."""
    dictionaries = {
        "blocks.0.hook_resid_pre": random_sae("jumprelu", d_in=d_model, seed=11),
        "blocks.0.attn.hook_z": random_sae("topk", d_in=d_heads, seed=12, k=7),
        "blocks.0.hook_mlp_out": random_sae(
            "jumprelu_skip_transcoder",
            d_in=d_model,
            seed=13,
            metadata={"hook_name": "blocks.0.mlp.hook_in"},
        ),
        "blocks.0.hook_resid_post": random_sae("standard", d_in=d_model, seed=14),
        "blocks.1.hook_attn_out": random_sae("gated", d_in=d_model, seed=15),
        "blocks.1.hook_resid_post": random_sae("jumprelu", d_in=d_model, seed=16),
    }
    return Toy(model=splice(bridge, dictionaries, name="rotary"), prompts=toy_prompts(bridge))


def toy_prompts(bridge: Any) -> Prompts:
    """Five pairs of equal length that differ in one word, with spans."""
    pairs = []
    for number in range(5):
        words = [f"w{1 + (3 * number + 2 * place) % 17}" for place in range(5)]
        corrupted = [*words[:1], f"w{18 + number % 3}", *words[2:]]
        spans = (("start", 1, 2), ("subject", 2, 3), ("rest", 3, 6))
        pairs.append(
            PromptPair(
                clean=" ".join(words),
                corrupted=" ".join(corrupted),
                answer=(f"w{1 + number}",),
                wrong=(f"w{9 + number}",),
                id=str(number),
                clean_spans=spans,
                corrupted_spans=spans,
            )
        )
    return tokenize(pairs, bridge.tokenizer, n_ctx=bridge.cfg.n_ctx)


# Words of each span (start, subject, rest), clean and corrupted; a span of 0 words is not there.
# `rest` is as long on both sides, so the last tokens correspond.
_UNEVEN = (
    ((1, 2, 2), (1, 1, 2)),
    ((2, 1, 1), (2, 3, 1)),
    ((1, 3, 2), (1, 2, 2)),
    ((0, 2, 3), (0, 2, 3)),
    ((3, 1, 1), (1, 1, 1)),
)


def uneven_prompts(bridge: Any) -> Prompts:
    """Five pairs whose prompts differ in length, between pairs and within them."""
    pairs = []
    for number, sides in enumerate(_UNEVEN):
        texts, spans = [], []
        for side, counts in enumerate(sides):
            words, ranges, start = [], [], 1
            for name, count in zip(("start", "subject", "rest"), counts, strict=True):
                first = 5 * number + 3 * len(words) + (7 if side and name == "subject" else 0)
                words += [f"w{1 + (first + 2 * step) % 21}" for step in range(count)]
                if count:
                    ranges.append((name, start, start + count))
                start += count
            texts.append(" ".join(words))
            spans.append(tuple(ranges))
        pairs.append(
            PromptPair(
                clean=texts[0],
                corrupted=texts[1],
                answer=(f"w{1 + number}", f"w{20 - number}")[: 1 + number % 2],
                wrong=(f"w{9 + number}",),
                id=f"uneven {number}",
                clean_spans=spans[0],
                corrupted_spans=spans[1],
            )
        )
    return tokenize(pairs, bridge.tokenizer, n_ctx=bridge.cfg.n_ctx)


def make_contrast(
    model: SplicedModel, prompts: Prompts, *, positions: Positions = "each", **choices: Any
) -> Contrast:
    """All prompts as one contrast; for the mean baseline the prompts are their own reference."""
    (contrast,) = contrasts_of(Experiment(model, prompts, positions=positions, **choices))
    return contrast


def contrasts_of(experiment: Experiment) -> list[Contrast]:
    """Every batch of an experiment."""
    return experiment.over_batches(lambda batch: batch)
