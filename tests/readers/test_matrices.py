import h5py
import numpy as np
import pytest
import scipy.io
import scipy.sparse

from xmr_ray.errors import ReaderError
from xmr_ray.readers.matrices import matrices_in

VALUES = np.arange(12.0).reshape(4, 3)


def save_v73(path, arrays):
    """What MATLAB's `save -v7.3` writes: a header of 512 bytes, transposed datasets, cells as references, sparse matrices as groups."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, values in arrays.items():
            if isinstance(values, list):
                cells = [file.create_dataset(f"#refs#/{name}{i}", data=value.T) for i, value in enumerate(values)]
                for cell in cells:
                    cell.attrs["MATLAB_class"] = np.bytes_("double")
                file.create_dataset(name, data=np.array([[cell.ref] for cell in cells], dtype=h5py.ref_dtype)).attrs["MATLAB_class"] = np.bytes_(
                    "cell"
                )
            elif scipy.sparse.issparse(values):
                group = file.create_group(name)
                group.attrs["MATLAB_sparse"] = np.uint64(values.shape[0])
                group.update({"data": values.data, "ir": values.indices.astype(np.uint64), "jc": values.indptr.astype(np.uint64)})
            else:
                file.create_dataset(name, data=values.T).attrs["MATLAB_class"] = np.bytes_("double")
    with open(path, "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(116) + bytes(8) + b"\x00\x02IM")


def save_plain(path, arrays):
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file[name] = values


@pytest.mark.parametrize("save", [scipy.io.savemat, save_v73, save_plain])
def test_rows_are_those_of_the_array(tmp_path, save):
    save(str(tmp_path / "x.mat"), {"A": VALUES})
    matrix = matrices_in(str(tmp_path / "x.mat"))["A"]
    assert matrix.shape == (4, 3)
    assert matrix.rows(np.array([1, 3])).tolist() == [[3, 4, 5], [9, 10, 11]]
    assert matrix.rows(np.array([], dtype=np.int64)).shape == (0, 3)
    assert matrix.turned().shape == (3, 4)
    assert matrix.turned().rows(np.array([2])).tolist() == [[2, 5, 8, 11]]


@pytest.mark.parametrize("save", [scipy.io.savemat, save_v73])
def test_sparse_matrices(tmp_path, save):
    dense = np.array([[0, 1.5, 0], [0, 0, 0], [2, 0, 3]])
    save(str(tmp_path / "x.mat"), {"S": scipy.sparse.csc_matrix(dense)})
    matrix = matrices_in(str(tmp_path / "x.mat"))["S"]
    assert matrix.rows(np.arange(3)).tolist() == dense.tolist()
    assert matrix.turned().rows(np.array([0])).tolist() == [dense[:, 0].tolist()]


@pytest.mark.parametrize("save", [scipy.io.savemat, save_v73])
def test_elements_of_cells(tmp_path, save):
    cell = np.empty((1, 2), dtype=object)
    cell[0, 0], cell[0, 1] = VALUES, VALUES[:, :2]
    save(str(tmp_path / "x.mat"), {"data": [VALUES, VALUES[:, :2]] if save is save_v73 else cell})
    found = matrices_in(str(tmp_path / "x.mat"))
    assert {name: matrix.shape for name, matrix in found.items()} == {"data[0]": (4, 3), "data[1]": (4, 2)}
    assert found["data[1]"].rows(np.array([2])).tolist() == [[6, 7]]


def test_far_apart_rows_of_a_long_dataset(tmp_path):
    values = np.arange(400.0).reshape(200, 2)
    save_v73(tmp_path / "x.mat", {"A": values})
    matrix = matrices_in(str(tmp_path / "x.mat"))["A"]
    for rows in ([0, 199], list(range(50, 60)), [3, 4, 9]):
        assert matrix.rows(np.array(rows)).tolist() == values[rows].tolist()


def test_words_structures_and_pictures_are_left_out(tmp_path):
    scipy.io.savemat(tmp_path / "x.mat", {"A": VALUES, "name": "words", "s": {"a": 1.0}, "pictures": np.zeros((2, 3, 3, 4))})
    assert list(matrices_in(str(tmp_path / "x.mat"))) == ["A"]


@pytest.mark.parametrize("save", [scipy.io.savemat, save_v73])
@pytest.mark.parametrize("kept", [0, 60, 700])
def test_damaged_files_are_named(tmp_path, save, kept):
    save(str(tmp_path / "x.mat"), {"A": np.random.default_rng(0).normal(size=(40, 30))})
    data = (tmp_path / "x.mat").read_bytes()
    (tmp_path / "x.mat").write_bytes(data[:kept])
    with pytest.raises(ReaderError, match=r"x\.mat: "):
        matrices_in(str(tmp_path / "x.mat"))


def test_without_h5py_the_message_says_how_to_get_it(tmp_path, monkeypatch):
    save_plain(tmp_path / "x.h5", {"A": VALUES})
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(ReaderError, match=r"needs h5py; pip install 'xmr-ray\[readers\]'"):
        matrices_in(str(tmp_path / "x.h5"))
