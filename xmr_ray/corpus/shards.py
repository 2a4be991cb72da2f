"""Parquet files that grow row group by row group and get their final name when they are finished."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq

from xmr_ray.corpus.schema import FileEntry
from xmr_ray.errors import StorageError
from xmr_ray.storage import commit_file, digest_file, join, make_folder, remove_file, resolve, size_of, temporary_name

FEATURES = frozenset({"pair_id", "image", "text"})


@dataclass
class _OpenFile:
    """A file under its temporary name."""

    name: str
    path: str
    temporary: str
    writer: pq.ParquetWriter
    row_groups: list[int] = field(default_factory=list)

    @property
    def rows(self) -> int:
        return sum(self.row_groups)


class ShardWriter:
    """Writes tables of one schema as numbered files of at most `rows_per_file` rows in row groups of `row_group_rows`.

    The bytes do not depend on how the rows were cut into tables. At most one row group is held in memory.
    """

    def __init__(
        self,
        root: str,
        pattern: str,
        schema: pa.Schema,
        *,
        rows_per_file: int,
        row_group_rows: int,
        on_row_group: Callable[[pa.Table], None] | None = None,
    ) -> None:
        self._root, self._pattern, self._schema = root, pattern, schema
        self._rows_per_file, self._row_group_rows, self._on_row_group = rows_per_file, row_group_rows, on_row_group
        self._buffer: list[pa.Table] = []
        self._buffered = 0
        self._open: _OpenFile | None = None
        self._finished: list[FileEntry] = []

    def append(self, table: pa.Table) -> None:
        """Take rows in; whole row groups go to disk. Raises `StorageError` if they cannot be written."""
        while len(table):
            part = table.slice(0, self._room() - self._buffered)
            self._buffer.append(part)
            self._buffered += len(part)
            table = table.slice(len(part))
            if self._buffered == self._room():
                self._flush()

    def close(self) -> tuple[FileEntry, ...]:
        """Write what is left and finish the last file; what was written, in order."""
        self._flush()
        self._finish_file()
        return tuple(self._finished)

    def abort(self) -> None:
        """Remove every file that this writer made."""
        if self._open is not None:
            with suppress(OSError, pa.ArrowException):  # a full disk fails here too; the first error is the one to tell
                self._open.writer.close()
            remove_file(self._open.temporary)
            self._open = None
        for entry in self._finished:
            remove_file(join(self._root, entry.file))
        self._finished, self._buffer, self._buffered = [], [], 0

    def _room(self) -> int:
        written = self._open.rows if self._open else 0
        return min(self._row_group_rows, self._rows_per_file - written)

    def _flush(self) -> None:
        if self._buffered == 0:
            return
        table = pa.concat_tables(self._buffer).combine_chunks()
        self._buffer, self._buffered = [], 0
        if self._on_row_group is not None:
            self._on_row_group(table)
        file = self._open = self._open or self._start_file()
        try:
            file.writer.write_table(table, row_group_size=len(table))
        except (OSError, pa.ArrowException) as error:
            raise StorageError(f"{file.path}: cannot be written ({error}); free space or check permissions and start again") from error
        file.row_groups.append(len(table))
        if file.rows == self._rows_per_file:
            self._finish_file()

    def _start_file(self) -> _OpenFile:
        name = self._pattern.format(len(self._finished))
        path = join(self._root, name)
        temporary = temporary_name(path)
        try:
            make_folder(path.rsplit("/", 1)[0])
            filesystem, inner = resolve(temporary)
            writer = pq.ParquetWriter(
                inner,
                self._schema,
                filesystem=filesystem,
                compression={column: "NONE" if column in FEATURES else "LZ4" for column in _leaf_columns(self._schema)},
                use_dictionary=False,
                write_statistics=["pair_id"],
                write_page_checksum=True,
            )
        except (OSError, pa.ArrowException) as error:
            raise StorageError(f"{path}: cannot be created ({error}); check the path and its permissions") from error
        return _OpenFile(name, path, temporary, writer)

    def _finish_file(self) -> None:
        if self._open is None:
            return
        file = self._open
        try:
            file.writer.close()
            digest, size = digest_file(file.temporary), size_of(file.temporary)
            commit_file(file.temporary, file.path)
        except (OSError, pa.ArrowException) as error:
            raise StorageError(f"{file.path}: cannot be finished ({error}); free space or check permissions and start again") from error
        self._open = None
        entry = FileEntry(file=file.name, rows=file.rows, bytes=size or 0, sha256=digest, row_groups=tuple(file.row_groups))
        self._finished.append(entry)


def _leaf_columns(schema: pa.Schema) -> list[str]:
    return [f"{field.name}.list.element" if pa.types.is_list(field.type) else field.name for field in schema]
