"""Every edge of an attribution, written to a Parquet file as it comes."""

from pathlib import Path
from types import TracebackType
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from saecircuits.edges.columns import EDGE_TABLE, schema_of
from saecircuits.errors import InputError
from saecircuits.new_file import check_new_file

_SCHEMA: Final = schema_of(EDGE_TABLE)


class EdgeFile:
    """A Parquet file with the columns of `graph.edges`, rows in the order in which they are found.

    The file appears under its name when the `with` block ends, whole; after an error there is none.

    Raises:
        InputError: the file is there already, or cannot be written.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = check_new_file(path, is_replaced=False)
        self._partial = self._path.with_name(f"{self._path.name}.partial")
        try:
            self._writer = pq.ParquetWriter(self._partial, _SCHEMA, compression="zstd")
        except OSError as error:
            raise InputError(
                f"{self._path} cannot be written ({error.strerror or error}); give a file in a "
                "folder that exists and has room"
            ) from error

    def write(
        self,
        source: NDArray[np.object_],
        target: NDArray[np.object_],
        figures: NDArray[np.float64],
    ) -> None:
        """Some more edges.

        Args:
            figures: `[n_edge, 5]`, in the order of the columns; NaN for what does not exist.
        """
        columns = [pa.array(source, pa.string()), pa.array(target, pa.string())]
        columns += [pa.array(figure, pa.float64(), from_pandas=True) for figure in figures.T]
        try:
            self._writer.write_table(pa.Table.from_arrays(columns, schema=_SCHEMA))
        except OSError as error:
            raise InputError(
                f"{self._path} cannot be written ({error.strerror or error}); make room, or give "
                "another place"
            ) from error

    def __enter__(self) -> "EdgeFile":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self._writer.close()
            if kind is None:
                self._partial.replace(self._path)
        finally:
            self._partial.unlink(missing_ok=True)
