"""What is put in front of every text: the tokenizer's own BOS, or what is asked for.

transformer_lens's bridge gives every tokenizer a BOS: where its files name none, it calls the end
of a text its beginning, and without that a new token, behind the last embedding. Nobody trained a
model on that. What the files said is kept by Hugging Face beside it (`init_kwargs`), and counts.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from saecircuits.errors import TaskError

BOS: Final = "bos"
NOTHING: Final = "none"
_OWN: Final = "the tokenizer's own BOS"
_NO_BOS: Final = "the tokenizer has no BOS"
_ASKED: Final = "asked for"


@dataclass(frozen=True)
class Prepended:
    """The token in front of every text, and why it is that one.

    Attributes:
        token: as the tokenizer writes it; None for nothing.
        id: its number; None for nothing.
        why: who decided.
    """

    token: str | None
    id: int | None
    why: str

    @property
    def ids(self) -> tuple[int, ...]:
        """The id, or none: what stands in front of the ids of a text."""
        return () if self.id is None else (self.id,)

    @property
    def width(self) -> int:
        """Position of the first token of a text: 1 behind a token, otherwise 0."""
        return len(self.ids)

    @property
    def is_own(self) -> bool:
        """Whether it is the tokenizer's own BOS."""
        return self.why == _OWN

    @property
    def name(self) -> str:
        """The token, quoted, or `nothing`."""
        return "nothing" if self.token is None else repr(self.token)

    @property
    def counted(self) -> str:
        """What a number of tokens takes in: `with BOS`, or another token; empty for nothing."""
        called = "BOS" if self.is_own else self.name
        return f"with {called}" if self.width else ""

    @property
    def choice(self) -> str:
        """What `prepended` makes the same of again, for the same tokenizer."""
        if self.token is None:
            return NOTHING
        return BOS if self.is_own else self.token

    def __str__(self) -> str:
        return f"{self.name} ({self.why})"

    def to_json(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)


def prepended(tokenizer: Any, prepend: str | None = None) -> Prepended:
    """What stands in front of every text that is read.

    Args:
        tokenizer: the model's own.
        prepend: `bos`, the tokenizer's own; `none`; or a token as the tokenizer writes it. None for
            the tokenizer's own BOS if its files name one, and nothing otherwise.

    Raises:
        TaskError: `bos` of a tokenizer that has none, or what is not exactly one token.
    """
    own = own_bos(tokenizer)
    if prepend == NOTHING:
        return Prepended(None, None, _ASKED)
    if prepend in (None, BOS):
        if own is not None:
            return Prepended(tokenizer.decode([own]), own, _OWN)
        if prepend is None:
            return Prepended(None, None, _NO_BOS)
        raise TaskError(
            "prepend is 'bos', but the tokenizer has no BOS of its own; give 'none', or a token "
            "such as '<|endoftext|>'"
        )
    ids = list(tokenizer.encode(prepend, add_special_tokens=False))
    if len(ids) != 1 or tokenizer.decode(ids).strip() != prepend.strip():
        found = ", ".join(repr(tokenizer.decode([one])) for one in ids) or "nothing"
        raise TaskError(
            f"prepend is {prepend!r}, which the tokenizer reads as {found}; give 'bos', 'none', or "
            "exactly one token"
        )
    token = tokenizer.decode(ids)
    return Prepended(token, ids[0], _OWN if ids[0] == own else _ASKED)


def own_bos(tokenizer: Any) -> int | None:
    """The BOS that the tokenizer's files name, or that its caller set; None where there is none."""
    token = tokenizer.bos_token_id
    said = getattr(tokenizer, "init_kwargs", None)
    if token is None or said is None or said.get("bos_token") is not None:
        return token
    # Named by nobody: equal to EOS it is the bridge's, anything else was set since.
    return None if token == tokenizer.eos_token_id else token


def recorded(provenance: Mapping[str, Any]) -> Prepended | None:
    """What stood in front of the prompts of a run; None for a run that did not record it.

    Raises:
        TaskError: a record that says something else than what is written.
    """
    known = provenance.get("prepended")
    if known is None:
        return None
    match known:
        case {"token": str() | None as token, "id": int() | None as number, "why": str() as why}:
            return Prepended(token, number, why)
        case _:
            found = f"{known!r:.80}"
    raise TaskError(f"the record's prepended is {found}; it has a token, its id, and why")


def prepend_of(provenance: Mapping[str, Any], otherwise: str | None) -> str | None:
    """The choice that reads texts as the prompts of a run were read; see `prepended`.

    Args:
        otherwise: for a run that did not record what stood in front.
    """
    known = recorded(provenance)
    return otherwise if known is None else known.choice
