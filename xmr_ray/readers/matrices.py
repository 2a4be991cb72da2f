"""Named matrices in MATLAB files (v5 by scipy, v7.3 by h5py) and plain HDF5 files; HDF5 is read by rows, never whole."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xmr_ray.errors import ReaderError
from xmr_ray.storage import is_local, resolve
from xmr_ray.types import Ids

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
MATLAB_HEADER_BYTES = 512
LARGEST_CELL = 16
SPARSE_WINDOW = 8


@dataclass(frozen=True)
class Matrix:
    """A matrix that can be read by rows: in memory (dense or sparse), or a dataset of an HDF5 file.

    `shape` and rows are as MATLAB (or numpy, for plain HDF5) shows them; `columns_first` says that the dataset holds the transpose.
    """

    path: str
    name: str
    shape: tuple[int, ...]
    dtype: str
    values: Any = None
    dataset: str = ""
    columns_first: bool = False

    @property
    def where(self) -> str:
        """File and name, for messages."""
        return f"{self.path}: {self.name}"

    @property
    def width(self) -> int:
        """Number of columns; a vector is one column."""
        return self.shape[1] if len(self.shape) > 1 else 1

    def turned(self) -> "Matrix":
        """The transpose."""
        values = None if self.values is None else self.values.T
        return replace(self, shape=self.shape[::-1], values=values, columns_first=not self.columns_first)

    def rows(self, rows_B: Ids) -> NDArray[Any]:
        """Some rows (ascending), (B, W); raises `ReaderError` if the file cannot be read."""
        if self.values is not None:
            taken = self.values[rows_B] if isinstance(self.values, np.ndarray) else self.values.tocsr()[rows_B].toarray()
            return taken.reshape(len(rows_B), self.width)
        if not len(rows_B):
            return np.empty((0, self.width), dtype=self.dtype)
        with _hdf5(self.path) as file:
            first, last = int(rows_B[0]), int(rows_B[-1]) + 1
            # HDF5 picks single rows slowly, so a window is read where it is not much more than what is wanted
            together = last - first <= SPARSE_WINDOW * len(rows_B)
            wanted: Any = slice(first, last) if together else rows_B
            dataset = file[self.dataset]
            taken = dataset[..., wanted].T if self.columns_first else dataset[wanted]
            return (taken[rows_B - first] if together else taken).reshape(len(rows_B), self.width)


def matrices_in(path: str) -> dict[str, Matrix]:
    """All numeric arrays of a file by name; elements of small cell arrays by names such as `train_data[0]`.

    Raises:
        ReaderError: the file is damaged or of another format, or it needs h5py, which is not installed.
    """
    filesystem, inner = resolve(path)
    try:
        with filesystem.open_input_file(inner) as file:
            head = file.read(MATLAB_HEADER_BYTES + len(HDF5_MAGIC))
    except OSError as error:
        raise ReaderError(f"{path}: cannot be read ({error})") from error
    if head.startswith(HDF5_MAGIC) or head[MATLAB_HEADER_BYTES:] == HDF5_MAGIC:
        with _hdf5(path) as hdf5:
            return {matrix.name: matrix for name in hdf5 for matrix in _hdf5_matrices(hdf5, name, path=path)}
    return _v5_matrices(path)


def _v5_matrices(path: str) -> dict[str, Matrix]:
    import scipy.io
    import scipy.sparse

    filesystem, inner = resolve(path)
    try:
        with filesystem.open_input_file(inner) as file:
            found = scipy.io.loadmat(file, variable_names=_numeric_names(path))
    except Exception as error:  # a damaged file makes scipy raise nearly anything
        raise ReaderError(f"{path}: not a MATLAB or HDF5 file, or damaged ({type(error).__name__}: {error})") from error
    matrices = {}
    for name, values in found.items():
        cells = enumerate(values.ravel()) if isinstance(values, np.ndarray) and values.dtype == object else ()
        parts = {name: values, **{f"{name}[{i}]": cell for i, cell in cells}}
        for key, part in parts.items():
            if scipy.sparse.issparse(part) or (isinstance(part, np.ndarray) and part.dtype.kind in "fiub"):
                matrices[key] = Matrix(path, key, part.shape, part.dtype.str, part)
    return matrices


def _numeric_names(path: str) -> list[str]:
    """Names of the arrays that can be features or labels, from their headers: pictures (four dims) and large cells are not loaded."""
    import scipy.io

    filesystem, inner = resolve(path)
    with filesystem.open_input_file(inner) as file:
        found = scipy.io.whosmat(file)
    skipped = {"char", "struct", "object", "function", "opaque"}
    small = [(name, shape, kind) for name, shape, kind in found if kind != "cell" or np.prod(shape) <= LARGEST_CELL]
    return [name for name, shape, kind in small if kind not in skipped and len(shape) == 2]


def _hdf5_matrices(file: Any, name: str, *, path: str) -> Iterator[Matrix]:
    item = file[name]
    if name.startswith("#") or "MATLAB_empty" in item.attrs:  # "#refs#" is where MATLAB keeps what cells refer to
        return
    if "MATLAB_sparse" in item.attrs:
        yield _sparse(item, path=path, name=name)
    elif hasattr(item, "dtype") and item.dtype.kind in "fiub":
        yield _dataset(item, path=path, name=name)
    elif hasattr(item, "dtype") and item.dtype == object and item.attrs.get("MATLAB_class") == b"cell" and item.size <= LARGEST_CELL:
        for i, reference in enumerate(item[()].ravel()):
            cell = file[reference]
            if hasattr(cell, "dtype") and cell.dtype.kind in "fiub":
                yield _dataset(cell, path=path, name=f"{name}[{i}]")


def _dataset(item: Any, *, path: str, name: str) -> Matrix:
    from_matlab = "MATLAB_class" in item.attrs
    shape = tuple(int(size) for size in (item.shape[::-1] if from_matlab else item.shape))
    return Matrix(path, name, shape, item.dtype.str, dataset=item.name, columns_first=from_matlab)


def _sparse(item: Any, *, path: str, name: str) -> Matrix:
    import scipy.sparse

    starts = item["jc"][()].astype(np.int64)
    shape = (int(item.attrs["MATLAB_sparse"]), len(starts) - 1)
    entries, rows = (item[part][()] if part in item else np.empty(0) for part in ("data", "ir"))
    values = scipy.sparse.csc_matrix((entries, rows.astype(np.int64), starts), shape=shape).tocsr()
    return Matrix(path, name, shape, values.dtype.str, values)


@contextmanager
def _hdf5(path: str) -> Iterator[Any]:
    try:
        import h5py
    except ImportError as error:
        raise ReaderError(f"{path}: this is an HDF5 (MATLAB v7.3) file, which needs h5py; pip install 'xmr-ray[readers]'") from error
    filesystem, inner = resolve(path)
    try:
        with h5py.File(inner if is_local(path) else filesystem.open_input_file(inner), "r") as file:
            yield file
    except (OSError, KeyError, RuntimeError, ValueError) as error:
        raise ReaderError(f"{path}: cannot be read as HDF5, perhaps cut short ({error}); copy it again") from error
