"""Models whose weights are written down, not learned: a GPT-2 that carries out a small program.

The stream is a list of named directions, orthonormal and of mean zero (direction i is
`(e_2i - e_2i+1) / sqrt(2)`). Heads and neurons are stated in those names. Two more coordinates hold
`+M` and `-M` throughout, so large that every LayerNorm divides by the same number, up to a
relative `|x|^2 / 2M^2`; its weight undoes that, and what follows reads the stream itself.

Every dictionary has the directions as its features, so what each feature means is known, and its
error is zero up to rounding.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from tempfile import TemporaryDirectory
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

import saecircuits as sc
from saecircuits.splicing.dictionary import Dictionary

BOS = "<|endoftext|>"
LARGE = 1000.0


@dataclass(frozen=True)
class Head:
    """One attention head.

    Attributes:
        match: (query direction, key direction) to the score that the two together give.
        move: (direction read, direction written) to the weight; through the value.
    """

    match: Mapping[tuple[str, str], float] = field(default_factory=dict)
    move: Mapping[tuple[str, str], float] = field(default_factory=dict)


@dataclass(frozen=True)
class Neuron:
    """`relu(bias + sum of weight * direction read)`, written to directions."""

    reads: Mapping[str, float]
    writes: Mapping[str, float]
    bias: float = 0.0


@dataclass(frozen=True)
class Layer:
    """One block: its heads read the stream before it, its neurons what the heads left."""

    heads: Sequence[Head] = ()
    neurons: Sequence[Neuron] = ()


@dataclass(frozen=True)
class Program:
    """What a model is made of.

    Attributes:
        words: the vocabulary without BOS, one token each.
        directions: names of everything that the stream can hold.
        embed: word to the direction that its embedding is.
        positions: direction of each position, BOS first.
        layers: the blocks.
        read_out: (direction, word) to what it adds to the word's logit.
    """

    words: Sequence[str]
    directions: Sequence[str]
    embed: Mapping[str, str]
    positions: Sequence[str]
    layers: Sequence[Layer]
    read_out: Mapping[tuple[str, str], float]


def assemble(program: Program, *, name: str) -> sc.SplicedModel:
    """The program as a spliced model in float64, its directions as features of the whole stream.

    Dictionaries are at `blocks.0.hook_resid_pre` and every `hook_resid_post`.
    """
    weights = _Weights(program)
    with TemporaryDirectory() as folder:
        weights.model().save_pretrained(folder)
        _tokenizer(program.words).save_pretrained(folder)
        bridge = TransformerBridge.boot_transformers(folder, device="cpu", dtype=torch.float64)
    sites = ["blocks.0.hook_resid_pre"]
    sites += [f"blocks.{layer}.hook_resid_post" for layer in range(len(program.layers))]
    return sc.splice(bridge, {site: weights.dictionary() for site in sites}, name=name)


def feature_ids(program: Program) -> dict[str, int]:
    """The number of the feature that each direction is."""
    return {name: number for number, name in enumerate(program.directions)}


class _Weights:
    """The program as GPT-2 weights."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.ids = feature_ids(program)
        n_head = max(len(layer.heads) for layer in program.layers)
        n_direction = len(program.directions)
        # Two coordinates a direction, two for +M and -M; the width is a multiple of the heads.
        self.n_head = max(1, n_head)
        self.width = -(-2 * (n_direction + 1) // self.n_head) * self.n_head
        self.basis = torch.zeros(n_direction, self.width, dtype=torch.float64)
        each = torch.arange(n_direction)
        self.basis[each, 2 * each] = 0.5**0.5
        self.basis[each, 2 * each + 1] = -(0.5**0.5)
        self.constant = torch.zeros(self.width, dtype=torch.float64)
        self.constant[2 * n_direction] = LARGE
        self.constant[2 * n_direction + 1] = -LARGE

    def dictionary(self) -> Dictionary:
        """Directions as features: `a_i = relu((x - constant) . d_i)`."""
        return Dictionary(
            kind="relu",
            W_enc=self.basis.T.contiguous(),
            b_enc=torch.zeros(len(self.basis), dtype=torch.float64),
            W_dec=self.basis,
            b_dec=self.constant,
            shift=self.constant,
        )

    def model(self) -> GPT2LMHeadModel:
        """The model of Hugging Face."""
        program = self.program
        words = [BOS, *program.words]
        n_neuron = max(1, *(len(layer.neurons) for layer in program.layers))
        config = GPT2Config(
            vocab_size=len(words),
            n_positions=len(program.positions),
            n_embd=self.width,
            n_layer=len(program.layers),
            n_head=self.n_head,
            n_inner=n_neuron,
            activation_function="relu",
            tie_word_embeddings=False,
            bos_token_id=0,
            eos_token_id=0,
        )
        model = GPT2LMHeadModel(config).double().eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()
            body = model.transformer
            for norm in body.modules():
                if isinstance(norm, torch.nn.LayerNorm):
                    norm.weight.fill_(LARGE * (2 / self.width) ** 0.5)
            body.wpe.weight.copy_(self.constant.expand(len(program.positions), -1))
            for place, direction in enumerate(program.positions):
                body.wpe.weight[place] += self.direction(direction)
            for number, word in enumerate(words):
                if word in program.embed:
                    body.wte.weight[number] = self.direction(program.embed[word])
            for layer, block in zip(program.layers, body.h, strict=True):
                self._fill_attention(block.attn, layer.heads)
                self._fill_mlp(block.mlp, layer.neurons)
            for (direction, word), gain in program.read_out.items():
                model.lm_head.weight[words.index(word)] += gain * self.direction(direction)
        return model

    def direction(self, name: str) -> Tensor:
        """The unit vector of a direction."""
        return self.basis[self.ids[name]]

    def _fill_attention(self, attention: Any, heads: Sequence[Head]) -> None:
        """GPT-2's layers multiply from the right: `[in, out]`, and q, k, v stand side by side."""
        d_head = self.width // self.n_head
        scale = d_head**0.5  # GPT-2 divides scores by it
        for number, head in enumerate(heads):
            channels = max(len(head.match), len(head.move))
            if channels > d_head:
                raise ValueError(f"a head of width {d_head} cannot hold {channels} channels")
            for channel, ((query, key), score) in enumerate(head.match.items()):
                at = number * d_head + channel
                attention.c_attn.weight[:, at] = self.direction(query) * score * scale
                attention.c_attn.weight[:, self.width + at] = self.direction(key)
            for channel, ((read, written), weight) in enumerate(head.move.items()):
                at = number * d_head + channel
                attention.c_attn.weight[:, 2 * self.width + at] = self.direction(read)
                attention.c_proj.weight[at] = weight * self.direction(written)

    def _fill_mlp(self, mlp: Any, neurons: Sequence[Neuron]) -> None:
        for number, neuron in enumerate(neurons):
            mlp.c_fc.bias[number] = neuron.bias
            for name, weight in neuron.reads.items():
                mlp.c_fc.weight[:, number] += weight * self.direction(name)
            for name, weight in neuron.writes.items():
                mlp.c_proj.weight[number] += weight * self.direction(name)


def _tokenizer(words: Sequence[str]) -> PreTrainedTokenizerFast:
    vocabulary = {word: number for number, word in enumerate([BOS, *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=BOS))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=BOS, eos_token=BOS, pad_token=BOS, name_or_path="toy"
    )
