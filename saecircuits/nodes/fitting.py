"""Whether prompts fit each other and the model: by their tokens, and by what is prepended."""

from collections.abc import Mapping
from typing import Any

from saecircuits.errors import InputError
from saecircuits.splicing import SplicedModel
from saecircuits.tasks import Prompts
from saecircuits.tasks.prepending import Prepended, recorded


def check_tokens(model: SplicedModel, prompts: Prompts) -> None:
    """Raises InputError where a prompt has a token that the model has no embedding of."""
    rows = int(model.bridge.cfg.d_vocab)
    largest = max(int(side.max()) for side in (prompts.clean_tokens, prompts.corrupted_tokens))
    if largest >= rows:
        raise InputError(
            f"the prompts hold token {largest}, and the model has embeddings of {rows:,}; read "
            "them with the model's own tokenizer, and prepend a token that it knows, or none"
        )


def check_same_front(what: str, one: Prompts, others: str, other: Prompts) -> None:
    """Raises InputError where two sets of prompts begin with different tokens."""
    _check(what, one.prepended, others, other.prepended)


def check_recorded_front(provenance: Mapping[str, Any], prompts: Prompts) -> None:
    """Raises InputError where a circuit was found behind another token than these prompts have."""
    known = recorded(provenance)
    if known is not None:
        _check("the circuit's prompts", known, "those given", prompts.prepended)


def _check(what: str, one: Prepended, others: str, other: Prepended) -> None:
    if one.id != other.id:
        raise InputError(
            f"in front of {what} there is {one.name}, and in front of {others} {other.name}; read "
            f"them alike: load_task(..., prepend={one.choice!r})"
        )
