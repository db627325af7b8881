"""Whether a model is the one that a circuit or graph was computed on: by digests, not by name."""

from collections.abc import Mapping
from typing import Any, Final

from saecircuits.errors import InputError
from saecircuits.splicing.model import SplicedModel

_SHOWN: Final = 12  # characters of a digest, enough to tell two apart


def require_same_model(model: SplicedModel, provenance: Mapping[str, Any], *, what: str) -> None:
    """Refuses a model other than the one that something was computed on.

    The name does not count, nor where the model was loaded from: equal weights are one model. A
    provenance without digests (a graph of another program) is not compared.

    Args:
        provenance: of the circuit or graph.
        what: `circuit` or `graph`, for the message.

    Raises:
        InputError: another model, another dtype, or other dictionaries; both are named.
    """
    if "model_digest" not in provenance:
        return
    own = model.describe()
    for key, words in (("dtype", "in"), ("model_digest", "on the model")):
        if key in provenance and provenance[key] != own[key]:
            there, here = (
                about[key] if key == "dtype" else f"{about.get('model')!r} ({_short(about[key])})"
                for about in (provenance, own)
            )
            given = "a model in" if key == "dtype" else "the model"
            raise InputError(
                f"the {what} was computed {words} {there}, but {given} {here} was given; give the "
                f"{what}'s own model"
            )
    theirs, ours = provenance.get("dictionaries") or {}, own["dictionaries"]
    if set(theirs) != set(ours):
        raise InputError(
            f"the {what} was computed with dictionaries at {_listed(theirs)}, but the model given "
            f"has them at {_listed(ours)}; load it with the {what}'s own sites"
        )
    for hook, digest in theirs.items():
        if digest != ours[hook]:
            raise InputError(
                f"the {what} was computed with the dictionary {_short(digest)} at {hook!r}, but "
                f"the model given has {_short(ours[hook])} there; give the {what}'s own model"
            )


def _short(digest: object) -> str:
    return f"sha256 {str(digest)[:_SHOWN]}..."


def _listed(hooks: Mapping[str, object]) -> str:
    return ", ".join(hooks) or "no site"
