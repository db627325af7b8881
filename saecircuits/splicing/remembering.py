"""Forward passes that remember keys and values, whatever name transformers has for what remembers.

Up to transformers 5.23 a model takes its cache as `past_key_values` (state-space models:
`cache_params`), gives it back under that name, and hands it on to its attention layers so. From
5.24 on it is `cache` throughout; the old names warn, and are gone in 5.40. transformer_lens 3.9
puts components of its own in the place of attention layers. They look for the old name alone, and
compute each token as if it were the first, without a word, where they do not find it. Here

1. the model is given its cache, and asked for it, under the name that its own signature has;
2. the bridge's attention components find it under the old name too;
3. a layer of Hugging Face's below such a component is called with its own name for it alone.
"""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from jaxtyping import Float, Int
from torch import Tensor

# The newest first: a signature may have an old name beside it for some time.
_NAMES: Final = ("cache", "past_key_values", "cache_params")
_READ_BY_BRIDGE: Final = "past_key_values"


def remembering_logits(
    bridge: Any, tokens: Int[Tensor, "text pos"], past: Any
) -> tuple[Float[Tensor, "text pos d_vocab"], Any]:
    """Logits of tokens that follow what is remembered, and what is to be remembered behind them.

    Args:
        past: None at the beginning of the texts, and later what the call before gave; it is changed
            in place. What is given back is None for a model that remembers nothing: it has to be
            given the whole texts again.
    """
    name = cache_name(bridge.original_model)
    if name is None:
        return bridge(tokens), None
    seen: list[Any] = []

    def keep(module: Any, given: Any, output: Any) -> None:
        seen[:] = [getattr(output, name, None)]

    handle = bridge.original_model.register_forward_hook(keep)
    try:
        with _found_by_attention(bridge):
            logits = bridge(tokens, use_cache=True, **({} if past is None else {name: past}))
    finally:
        handle.remove()
    return logits, seen[0]


def cache_name(model: Any) -> str | None:
    """What a Hugging Face model calls its cache; None for one that takes none."""
    taken = inspect.signature(model.forward).parameters
    return next((name for name in _NAMES if name in taken), None)


@contextmanager
def _found_by_attention(bridge: Any) -> Iterator[None]:
    """Inside: attention components find the cache under the name that they look for."""
    from transformer_lens.model_bridge.generalized_components import AttentionBridge

    handles = []
    try:
        for part in bridge.modules():
            if isinstance(part, AttentionBridge):
                handles.append(part.register_forward_pre_hook(_name_twice, with_kwargs=True))
                inner = part.original_component
                if inner is not None:
                    handles.append(inner.register_forward_pre_hook(_name_once, with_kwargs=True))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _name_twice(module: Any, args: Any, named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    cache = named.get("cache")
    return args, named if cache is None else {_READ_BY_BRIDGE: cache, **named}


def _name_once(module: Any, args: Any, named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    if named.get("cache") is not None:
        named = {name: value for name, value in named.items() if name != _READ_BY_BRIDGE}
    return args, named
