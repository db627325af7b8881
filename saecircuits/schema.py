"""What the schemas of all files and pages have in common.

Every model is frozen and refuses unknown keys, so a misspelt or foreign file is an error with the
key's name in it. Numbers that do not exist (an interval over one prompt) are null, never NaN.
"""

from typing import Annotated, Final, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

FORMAT: Final = "saecircuits/1"  # of the files of a run

Number: TypeAlias = float | None
Count: TypeAlias = Annotated[int, Field(ge=0)]
Sha256: TypeAlias = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Record(BaseModel):
    """What all schemas have in common: frozen, and no key beyond the named ones."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
