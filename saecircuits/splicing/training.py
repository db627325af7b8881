"""What dictionaries were trained on in front of every text, and whether prompts have it there."""

from typing import Any

from saecircuits.splicing.model import SplicedModel
from saecircuits.tasks.prepending import Prepended


def front_differs(model: SplicedModel, front: Prepended) -> str | None:
    """One sentence where dictionaries were trained with something in front of texts and the prompts
    have nothing there, or the other way round; None where they agree, or do not say.

    It is told and not refused: activations are what they are, and what the dictionaries leave of
    them, at the first tokens above all, is in the error nodes.
    """
    said = {one.site.hook: one.dictionary.prepend_bos for one in model.splices}
    hooks = [hook for hook, is_behind in said.items() if is_behind is (not front.width)]
    if not hooks:
        return None
    named = hooks[0] if len(hooks) == 1 else f"{hooks[0]} and {len(hooks) - 1} more"
    trained = "with nothing" if front.width else "with a BOS"
    return (
        f"dictionaries at {named} were trained {trained} in front of texts (prepend_bos="
        f"{not front.width}), and these prompts have {front.name} there"
    )


def trained_with(model: SplicedModel) -> dict[str, dict[str, Any]]:
    """What each dictionary's metadata says of its texts, by hook, where it says anything.

    `prepend_bos`: a BOS stood in front; `exclude_special_tokens`: activations at special tokens (or
    at those of these ids) were not trained on.
    """
    found = {}
    for one in model.splices:
        names = ("prepend_bos", "exclude_special_tokens")
        told = {name: getattr(one.dictionary, name) for name in names}
        told = {name: value for name, value in told.items() if value is not None}
        if told:
            found[one.site.hook] = told
    return found
