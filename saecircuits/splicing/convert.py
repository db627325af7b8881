"""From sae_lens's objects to `Dictionary`: what is supported, and what is refused and why.

sae_lens 6 keeps its kinds in classes with state and hooks of their own, and attaches them to a
model with several silent traps (skip weights dropped, unknown hooks ignored, errors without
gradient). Here a SAE is read once, into plain tensors, and checked against the width it will meet.
"""

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from saecircuits.errors import DictionaryError
from saecircuits.kinds import described
from saecircuits.splicing.dictionary import Dictionary
from saecircuits.splicing.gates import ARCHITECTURES
from saecircuits.splicing.normalising import (
    CONSTANT_NORM,
    LAYER_NORM,
    Normalisation,
    normalisation,
)

# Kinds of sae_lens whose features are no affine function of what is read, and why.
_NOT_AFFINE = {
    "matching_pursuit": "it picks its features one by one, each by what those before it have left",
    "temporal": "its features depend on the tokens before",
    "batchtopk": "it is for training; save it with its save_inference_model(folder)",
    "matryoshka_batchtopk": "it is for training; save it with its save_inference_model(folder)",
}
# What has been tried with sae_lens 6.54 and gives the dictionary that was trained.
_ADVICE = {
    "of each token": (
        "its settings say 'none', since something was folded into it, but it goes on normalising, "
        "and would not once it is saved and loaded; load it anew and fold nothing into it"
    ),
    "expected_average_only_in": (
        "sae_lens applies the factor only where it is folded into the weights; call "
        "sae.fold_activation_norm_scaling_factor(factor) first, the factor being the square root "
        "of d_in over the mean length of what was read in training"
    ),
    "covariance_whitening": (
        "sae_lens applies it only where it is folded into the weights; call "
        "sae.fold_activation_whitening(mean, whitening_matrix, unwhitening_matrix) first, with "
        "the statistics of training"
    ),
}


def dictionary_from_sae(sae: Any, site: str, *, is_copied: bool = True) -> Dictionary:
    """The plain tensors of a sae_lens SAE or transcoder (inference classes of sae_lens 6).

    Weights are detached and, if `is_copied`, copied, so that no change to the caller's object
    reaches the dictionary. A SAE whose registry entry says that it was trained on a centred stream
    (`center_writing_weights`) reads the stream with its mean over d_model removed; the mean itself
    then stays in the error node. So do mean and `b_dec` of a SAE that normalises every token, whose
    features are given in the stream's units (`splicing.normalising`).

    Raises:
        DictionaryError: what is no such SAE; a kind or a normalisation that has no exact linear
            reading.
    """
    kind = _supported_kind(sae, site)
    gate = ARCHITECTURES[kind]
    weights = {name: value.detach() for name, value in sae.named_parameters()}
    # What was made in inference mode is kept out of gradients; a copy is like any other.
    if is_copied or any(value.is_inference() for value in weights.values()):
        weights = {name: value.clone() for name, value in weights.items()}
    W_enc, b_dec = weights["W_enc"], weights["b_dec"]
    read = {"W_dec": weights["W_dec"], **gate.read(sae, weights)}
    shift = b_dec if sae.cfg.apply_b_dec_to_input else torch.zeros_like(W_enc[:, 0])
    if _reads_centred_stream(sae):
        mean_row = W_enc.mean(dim=0)
        W_enc = W_enc - mean_row
        from_shift = shift.sum() * mean_row  # the shift itself is not centred
        if "b_gate" in read:  # of gated dictionaries, whose `b_enc` is added behind the magnitude
            read["b_gate"] = read["b_gate"] - from_shift
            from_shift = from_shift * read["magnitude"]
        read["b_enc"] = read["b_enc"] - from_shift
    skip = weights.get("W_skip")
    by_token = _by_token(sae)
    return Dictionary(
        kind=gate.name,
        W_enc=W_enc,
        b_dec=torch.zeros_like(b_dec) if by_token is not None and by_token.is_undone else b_dec,
        shift=shift,
        normalisation=by_token,
        W_skip=None if skip is None else skip.T.contiguous(),
        neuronpedia_id=sae.cfg.metadata.neuronpedia_id,
        reads=sae.cfg.metadata.hook_name if "transcoder" in kind else None,
        **_texts_of(sae.cfg.metadata),
        **read,
    )


def not_affine(kind: str) -> str:
    """Why a kind of sae_lens's cannot be used, as the end of a sentence about a dictionary."""
    why = _NOT_AFFINE.get(kind, "no affine reading of it is known")
    return (
        f"is of kind {kind!r}, whose features are not an affine function of what is read: {why}; "
        f"supported kinds: {', '.join(sorted(ARCHITECTURES))}"
    )


def check_widths(dictionary: Dictionary, site: str, *, d_read: int, d_write: int) -> None:
    """Refuses a dictionary whose widths differ from the tensors it would read and write.

    Raises:
        DictionaryError: naming both widths.
    """
    for verb, found, expected in (
        ("reads", dictionary.d_in, d_read),
        ("writes", dictionary.d_out, d_write),
    ):
        if found != expected:
            raise DictionaryError(
                f"dictionary for {site!r} {verb} width {found}, but the model's tensor there has "
                f"width {expected}; load a dictionary trained on this model at this hook point"
            )


def check_finite(dictionary: Dictionary, site: str) -> None:
    """Refuses a dictionary with weights that are NaN or infinite.

    A threshold of plus infinity is a feature that is always off.

    Raises:
        DictionaryError: naming the tensor, and how many of its entries.
    """
    for name, value in vars(dictionary).items():
        if not isinstance(value, Tensor) or not value.numel():
            continue
        least, largest = value.aminmax()  # NaN where one is, and no copy of the tensor
        if not least.isfinite() or not (largest.isfinite() or name == "threshold"):
            count = int((~value.isfinite()).sum())
            raise DictionaryError(
                f"dictionary for {site!r} has {count} of {value.numel()} entries of {name} that "
                "are NaN or infinite; use a dictionary whose training did not diverge, or fetch it "
                "again"
            )


def _supported_kind(sae: Any, site: str) -> str:
    _check_is_sae(sae, site)
    kind = sae.cfg.architecture()
    if kind not in ARCHITECTURES:
        raise DictionaryError(f"dictionary for {site!r} {not_affine(kind)}")
    done = _normalisation(sae)
    if done not in ("none", LAYER_NORM, CONSTANT_NORM):
        raise DictionaryError(
            f"dictionary for {site!r} normalises what it reads ({done!r}): {_ADVICE[done]}"
        )
    return kind


def _check_is_sae(sae: Any, site: str) -> None:
    from sae_lens.saes.sae import TrainingSAE

    if isinstance(sae, TrainingSAE):
        advice = (
            ", which is for training; save it with its save_inference_model(folder), and give "
            "SAE.load_from_disk(folder)"
        )
    elif callable(getattr(getattr(sae, "cfg", None), "architecture", None)):
        return
    elif isinstance(sae, tuple) and sae and hasattr(sae[0], "cfg"):
        advice = ", which sae_lens gives together with settings; give its first entry, the SAE"
    elif isinstance(sae, Mapping):
        advice = ", which has no settings; give the SAE itself, such as SAE.load_from_disk(folder)"
    elif isinstance(sae, str | PurePath):
        advice = "; give SAE.load_from_disk(folder), or SAE.from_pretrained(release, id)"
    else:
        advice = "; give a SAE or transcoder of sae_lens, or a saecircuits.splicing.Dictionary"
    raise DictionaryError(f"dictionary for {site!r} is {described(sae)}{advice}")


def _normalisation(sae: Any) -> str:
    """What is done to the tensor read before it is encoded, whatever the settings say of it.

    Folding a scale into a SAE that normalises by each token's own figures sets its settings to
    `none`, and leaves the normalisation where it was.
    """
    said = sae.cfg.normalize_activations
    run = getattr(sae, "run_time_activation_norm_fn_in", None)
    if said != "none" or run is None:
        return said
    before = set(vars(sae))
    # A lone entry has no standard deviation: two, and a length far from the square root of d_in.
    probe = torch.tensor([[1.0, 3.0]], device="cpu")
    changed = not torch.equal(run(probe), probe)
    for left in set(vars(sae)) - before:  # what decoding would have used up
        delattr(sae, left)
    return "of each token" if changed else said


def _by_token(sae: Any) -> Normalisation | None:
    name = sae.cfg.normalize_activations
    if name == "none":
        return None
    return normalisation(
        name,
        is_transcoder="transcoder" in sae.cfg.architecture(),
        takes_mean_off=name == LAYER_NORM or _reads_centred_stream(sae),
    )


def _texts_of(metadata: Any) -> dict[str, Any]:
    """What it was trained on at the first and at special tokens, as far as it says so."""
    front, left_out = metadata.prepend_bos, metadata.exclude_special_tokens
    if isinstance(left_out, list | tuple):
        left_out = tuple(one for one in left_out if isinstance(one, int))
    return {
        "prepend_bos": front if isinstance(front, bool) else None,
        "exclude_special_tokens": left_out if isinstance(left_out, bool | tuple) else None,
    }


def _reads_centred_stream(sae: Any) -> bool:
    if "transcoder" in sae.cfg.architecture() or sae.cfg.reshape_activations == "hook_z":
        return False  # what a norm or a head gives out is the same on a centred stream
    settings = sae.cfg.metadata.model_from_pretrained_kwargs
    return bool(settings and settings.get("center_writing_weights"))


def flatten_heads(x: Float[Tensor, "batch pos head d_head"]) -> Float[Tensor, "batch pos d_in"]:
    """Heads side by side: how a dictionary on `hook_z` reads them."""
    return x.flatten(start_dim=2)
