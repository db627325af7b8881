"""Cross-layer transcoders: features that read at one layer and write at every later MLP's output.

With `x_l` what layer l's features read and `m_t` the output of layer t's MLP,

    a_l = gate(x_l @ W_enc_l + b_enc_l)
    m_t = sum over l <= t of a_l @ W_dec[l -> t]  +  b_dec_t  (+  x_t @ W_skip_t)  +  e_t

for every layer t: all MLPs are replaced at once, with one error node to each. Of a feature of layer
l the effect is the sum over t >= l of `(dm/dx_t) . W_dec[l -> t]`, times its change.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from saecircuits.errors import DictionaryError
from saecircuits.splicing.dictionary import Dictionary
from saecircuits.splicing.later import Later
from saecircuits.splicing.sites import hook_of


@dataclass(frozen=True, eq=False)
class CrossLayerTranscoder:
    """A cross-layer transcoder of a model with as many blocks as there are `layers`.

    Attributes:
        reads: what of its block each layer reads, after `blocks.<layer>.`: `hook_resid_mid`
            (the stream before the MLP's norm), `ln2.hook_normalized` or `mlp.hook_in`.
        layers: of every layer, encoder, the decoder into its own MLP's output with that output's
            bias, and the decoders into later ones (`Dictionary.later`).
    """

    reads: str
    layers: tuple[Dictionary, ...]

    @classmethod
    def from_weights(
        cls,
        reads: str,
        *,
        W_enc: Sequence[Float[Tensor, "d_in _"]],
        b_enc: Sequence[Float[Tensor, " _"]],
        W_dec: Sequence[Float[Tensor, "_ _ d_out"]],
        b_dec: Sequence[Float[Tensor, " d_out"]],
        threshold: Sequence[Float[Tensor, " _"]] | None = None,
        W_skip: Sequence[Float[Tensor, "d_in d_out"]] | None = None,
    ) -> "CrossLayerTranscoder":
        """A cross-layer transcoder from its weights, one entry a layer.

        Args:
            reads: as the attribute.
            W_enc: `[d_in, d_sae]`; layers may have different numbers of features.
            W_dec: `[d_sae, n_layers - layer, d_out]`: of every feature a row for its own layer and
                for each later one. Left where it is: of a mapped file the rows of active features
                alone are read.
            b_dec: of the outputs: that of layer t is added to what all features write there.
            threshold: the gate is then JumpReLU, `relu(pre) [pre > threshold]`; else ReLU.
            W_skip: `[d_in, d_out]`: what a layer reads, times it, is added to its own MLP's output,
                as Gemma Scope 2's `affine_skip_connection` is; none if absent.

        Raises:
            DictionaryError: numbers of layers that do not fit together.
        """
        _check_layers(W_enc, W_dec)
        layers, n_layers = [], len(W_enc)
        for layer in range(n_layers):
            hooks = tuple(hook_of(later, "mlp_out") for later in range(layer + 1, n_layers))
            one = Dictionary(
                kind="relu" if threshold is None else "jumprelu",
                W_enc=W_enc[layer],
                b_enc=b_enc[layer],
                W_dec=W_dec[layer][:, 0],
                b_dec=b_dec[layer],
                shift=torch.zeros_like(W_enc[layer][:, 0]),
                threshold=None if threshold is None else threshold[layer],
                W_skip=None if W_skip is None else W_skip[layer],
                later=Later(hooks, W_dec[layer][:, 1:]) if hooks else None,
            )
            layers.append(one)
        return cls(reads, tuple(layers))

    def at(self, layer: int) -> tuple[str, str]:
        """The hook points that a layer reads, and writes first."""
        return f"blocks.{layer}.{self.reads}", hook_of(layer, "mlp_out")


def _check_layers(W_enc: Sequence[Tensor], W_dec: Sequence[Tensor]) -> None:
    n_layers = len(W_enc)
    for layer, (encoder, decoder) in enumerate(zip(W_enc, W_dec, strict=True)):
        if decoder.shape[:2] != (encoder.shape[1], n_layers - layer):
            raise DictionaryError(
                f"the decoder of layer {layer} has {decoder.shape[0]} features that write at "
                f"{decoder.shape[1]} layers; with {encoder.shape[1]} features in the encoder and "
                f"{n_layers} layers these are {encoder.shape[1]} and {n_layers - layer}, the "
                "layer's own and all later ones"
            )
