"""What the schemas of all files and pages have in common.

Every model is frozen and refuses unknown keys, so a misspelt or foreign file is an error with the
key's name in it. Numbers that do not exist (an interval over one prompt) are null in files.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeAlias

import pandas as pd
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    TypeAdapter,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, core_schema

FORMAT: Final = "saecircuits/1"  # of the files of a run

Number: TypeAlias = float | None
# A cell of a table of numbers: null in a file is NaN in the table.
Cell: TypeAlias = Annotated[
    float,
    BeforeValidator(lambda x: float("nan") if x is None else x),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "null"}]}),
]
Count: TypeAlias = Annotated[int, Field(ge=0)]
Sha256: TypeAlias = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Record(BaseModel):
    """What all schemas have in common: frozen, and no key beyond the named ones."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Findings(Record):
    """A result that is its own file's schema: tables for users, lists of rows in the file.

    Numbers may be NaN in memory. Like tables, two of them are equal only if they are one.
    """

    model_config = ConfigDict(allow_inf_nan=True)

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def to_json(self) -> dict[str, Any]:
        """Plain values by the names of the file, tables as lists of rows."""
        return self.model_dump(by_alias=True, warnings=False)


@dataclass(frozen=True)
class RowsOf:
    """Says of a field with a table that it is a list of such rows in files.

    Attributes:
        row: a typed dictionary.
        frame: makes the table from rows.
    """

    row: Any
    frame: Callable[[list[Any]], pd.DataFrame] = pd.DataFrame

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        rows = core_schema.no_info_after_validator_function(
            self.frame, handler.generate_schema(list[self.row])
        )
        return core_schema.json_or_python_schema(
            json_schema=rows,
            python_schema=core_schema.union_schema(
                [core_schema.is_instance_schema(pd.DataFrame), rows]
            ),
            serialization=core_schema.plain_serializer_function_ser_schema(_rows),
        )

    def __get_pydantic_json_schema__(
        self, schema: Any, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        rows: Any = list[self.row]
        return handler(TypeAdapter(rows).core_schema)


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    records = frame.to_dict("records")
    return [{str(k): None if v is pd.NA else v for k, v in row.items()} for row in records]
