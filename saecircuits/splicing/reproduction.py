"""Is a bridge's model sound: weights that are numbers, and the Hugging Face model's own logits?

A bridge puts parts of its own into the model: of some architectures they compute something else. So
the model is built a second time from its class and configuration, with the same weights and none of
these parts, and both read a few tokens. The second model shares every tensor with the first; what
it costs is one short forward pass.

The two prompts begin alike and end differently. A causal model has the same logits where they are
alike, and one whose logits there see the ends is refused: nothing here is true of it.
"""

from collections.abc import Callable
from copy import deepcopy
from typing import Any, Final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from saecircuits.errors import ModelError
from saecircuits.splicing.inference import inference_settings

# What a bridge calls the part whose place it has taken.
_INSIDE: Final = "_original_component"
_TOKENS: Final = (2, 12)
_ALIKE: Final = 5
# transformer_lens says that kernels alone move float32 logits by about a thousandth.
_TOLERANCE: Final = 1e-2


@torch.no_grad()
def check_weights(bridge: Any, name: str) -> None:
    """Refuses a model with weights that are NaN or infinite.

    Raises:
        ModelError: naming the first such tensor.
    """
    for parameter_name, value in bridge.original_model.named_parameters():
        if value.numel() and not all(end.isfinite() for end in value.aminmax()):
            own = parameter_name.replace(f"{_INSIDE}.", "")
            raise ModelError(
                f"model {name!r} has {int((~value.isfinite()).sum())} of {value.numel()} entries "
                f"of {own} that are NaN or infinite; fetch its checkpoint again, or choose a dtype "
                "with a larger range"
            )


@torch.no_grad()
def check_reproduction(bridge: Any, name: str) -> None:
    """Refuses a bridge that is not causal, or whose logits are not those of its Hugging Face model.

    Bridges over models that cannot be built from their configuration (transformer_lens's own, or
    quantised ones) have nothing to be compared with; bridges to which their owner has attached
    hooks, which may well be to compute something else, pass altogether.

    Raises:
        ModelError: with the largest difference, relative to the largest logit; or where a logit is
            NaN; or where a later token moves an earlier logit.
    """
    if any(point.fwd_hooks for point in bridge.hook_dict.values()):
        return
    original = bridge.original_model
    alone, kind = _without_bridge(original), type(original).__name__
    like = next(bridge.parameters())
    dtype = str(like.dtype).removeprefix("torch.")
    tokens = _two_prompts(bridge).to(like.device)

    def run(what: str, model: Callable[[], Tensor]) -> Tensor:
        try:
            return model().float()
        except Exception as error:
            # A bridge that does not know the installed transformers, or a dtype, stops in any way.
            reason = (str(error).strip() or "no reason").splitlines()[0]
            raise ModelError(
                f"{what} {name!r} ({kind}) does not run in {dtype} ({type(error).__name__}: "
                f"{reason}); try another dtype, or another version of transformers or "
                "transformer_lens"
            ) from error

    with inference_settings(bridge):
        found = run("transformer_lens's bridge over", lambda: bridge(tokens))
    tolerance = max(_TOLERANCE, 8 * torch.finfo(like.dtype).eps)
    _check_causal(found, f"model {name!r} ({kind})", tolerance)
    if alone is None:
        return
    expected = run("model", lambda: alone(input_ids=tokens, use_cache=False).logits)
    if bool(expected.isnan().any()):
        raise ModelError(
            f"logits of model {name!r} are NaN in {str(like.dtype).removeprefix('torch.')}; choose "
            "a dtype with a larger range (bfloat16, float32)"
        )
    # A token that is never to come may have a logit of minus infinity.
    found, expected = (torch.where(expected.isinf(), 0.0, logits) for logits in (found, expected))
    size = float(expected.abs().max())
    gap = float((found - expected).abs().max())
    if not gap <= tolerance * max(size, 1e-6):
        raise ModelError(
            f"transformer_lens's bridge over {name!r} ({kind}) does not compute "
            f"what the Hugging Face model computes: logits are off by {gap / size:.0%} of the "
            f"largest, {gap:.3g} of {size:.3g}; use a model whose bridge reproduces it, with its "
            "weights unprocessed"
        )


def _two_prompts(bridge: Any) -> Int[Tensor, "2 pos"]:
    """Two prompts of tokens from all over the vocabulary that share their first tokens."""
    n_prompt, n_pos = _TOKENS
    n_pos = min(n_pos, int(bridge.cfg.n_ctx))
    # A prime step.
    numbers = 1 + 7919 * torch.arange(n_prompt * n_pos, device="cpu")
    tokens = (numbers % int(bridge.cfg.d_vocab)).unflatten(0, (n_prompt, n_pos))
    tokens[1, :_ALIKE] = tokens[0, :_ALIKE]
    return tokens


def _check_causal(logits: Float[Tensor, "2 pos d_vocab"], what: str, tolerance: float) -> None:
    """Refuses a model whose logits at the tokens that both prompts share see what follows them."""
    n_alike = min(_ALIKE, logits.shape[1] - 1)
    one, other = torch.where(logits.isinf(), 0.0, logits)[:, :n_alike]
    gap, size = float((one - other).abs().max()), float(one.abs().max())
    if n_alike and gap > tolerance * max(size, 1e-6):
        raise ModelError(
            f"{what} is not causal: a later token moves the logits of earlier ones by {gap:.3g} of "
            f"{size:.3g}; circuits here are of models that read from left to right, as a decoder "
            "for text generation does"
        )


def _without_bridge(original: Any) -> Any:
    """The Hugging Face model anew, sharing all tensors; None where it cannot be had."""
    from transformers import PreTrainedModel

    if not isinstance(original, PreTrainedModel):
        return None
    if getattr(original.config, "quantization_config", None) is not None:
        return None
    config = deepcopy(original.config)
    config._attn_implementation = "eager"
    try:
        with torch.device("meta"):
            alone = type(original)(config)
        for path, module in alone.named_modules():
            _share(module, _module_of_its_own(original, path))
    except Exception:
        # Models with code of their own fail here in ways of their own.
        return None
    return alone.eval()


def _module_of_its_own(original: Any, path: str) -> Any:
    """The module at a path of the Hugging Face model, whatever the bridge has put around it."""
    module = original
    for step in filter(None, path.split(".")):
        module = module._modules[step]
        while _INSIDE in module._modules:
            module = module._modules[_INSIDE]
    return module


def _share(module: Any, own: Any) -> None:
    """Gives a module on no device the tensors of another."""
    for leaf, placeholder in module._parameters.items():
        if placeholder is not None:
            tensor = own._parameters[leaf].detach()
            module._parameters[leaf] = nn.Parameter(tensor, requires_grad=False)
    for leaf, placeholder in module._buffers.items():
        if placeholder is not None:
            module._buffers[leaf] = own._buffers[leaf]
