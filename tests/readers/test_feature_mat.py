import h5py
import numpy as np
import pytest
import scipy.io
import scipy.sparse

from xmr_ray.errors import ReaderError
from xmr_ray.readers.feature_mat import FeatureMatReader


def block(num_rows, *, start=0, classes=3):
    rows = np.arange(start, start + num_rows)
    return rows[:, None] + np.array([[0.0, 0.25, 0.5, 0.75]]), -rows[:, None] * np.array([[1.0, 2.0]]), np.eye(classes)[rows % classes]


def save_v73(path, arrays):
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, values in arrays.items():
            file.create_dataset(name, data=np.asarray(values).T).attrs["MATLAB_class"] = np.bytes_("double")


def save_h5(path, arrays):
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file[name] = values


def rows_of(source):
    """By split: (id, image, text, labels) of every pair."""
    found = {}
    for split, records in source.shards():
        labels = [None] * len(records) if records.labels is None else [list(row) for row in records.labels]
        found.setdefault(split, []).extend(zip(records.pair_ids.tolist(), records.image.tolist(), records.text.tolist(), labels, strict=True))
    return found


EXPECTED = {
    "train": [(i, [i, i + 0.25, i + 0.5, i + 0.75], [-i, -2 * i], [i % 3]) for i in range(5)],
    "test": [(i, [i, i + 0.25, i + 0.5, i + 0.75], [-i, -2 * i], [i % 3]) for i in range(5, 8)],
}


def split_arrays(*names):
    return dict(zip(names, [*block(5), *block(3, start=5)], strict=True))


@pytest.mark.parametrize("save", [scipy.io.savemat, save_v73, save_h5])
@pytest.mark.parametrize(
    "names",
    [
        ("I_tr", "T_tr", "L_tr", "I_te", "T_te", "L_te"),
        ("train_img", "train_txt", "train_lab", "test_img", "test_txt", "test_lab"),
        ("train_imgs_deep", "train_texts_doc", "train_imgs_labels", "test_imgs_deep", "test_texts_doc", "test_imgs_labels"),
        ("ImgTrain", "TagTrain", "LabTrain", "ImgQuery", "TagQuery", "LabQuery"),
        ("i_TR", "t_TR", "l_TR", "i_TE", "t_TE", "l_TE"),
    ],
)
def test_known_names_are_found(tmp_path, save, names):
    save(str(tmp_path / "x.mat"), split_arrays(*names) | {"param": np.zeros((1, 1))})
    source = FeatureMatReader(path=str(tmp_path / "x.mat")).read()
    assert rows_of(source) == EXPECTED
    assert (source.schema.image_dim, source.schema.text_dim, source.schema.class_names) == (4, 2, ("class-0", "class-1", "class-2"))
    assert source.schema.multi_label is False


def test_folder_with_an_array_in_each_file(tmp_path):
    for name, values in split_arrays("train_img", "train_txt", "train_lab", "test_img", "test_txt", "test_lab").items():
        scipy.io.savemat(tmp_path / f"{name}.mat", {name: values})
    validation = dict(zip(("valid_img", "valid_txt", "valid_lab"), block(2, start=8), strict=True))
    for name, values in validation.items():
        scipy.io.savemat(tmp_path / f"{name}.mat", {"data": values})  # the file's name tells
    found = rows_of(FeatureMatReader(path=str(tmp_path)).read())
    # ids are counted over train, validation and test
    assert [row[0] for split in ("train", "validation", "test") for row in found[split]] == list(range(10))
    assert [row[1:] for row in found["test"]] == [row[1:] for row in EXPECTED["test"]]
    assert [row[1][0] for row in found["validation"]] == [8, 9]


def test_everything_in_one_set_is_split_by_hash(tmp_path):
    image, text, labels = block(20)
    scipy.io.savemat(tmp_path / "nus-xall-vgg.mat", {"XAll": image})
    save_v73(tmp_path / "nus-yall.mat", {"YAll": text})
    scipy.io.savemat(tmp_path / "nus-lall.mat", {"LAll": labels.astype(np.uint8)})
    settings = {"path": str(tmp_path), "num_test": 6, "num_validation": 3}
    found = rows_of(FeatureMatReader(**settings).read())
    assert {split: len(rows) for split, rows in found.items()} == {"train": 11, "validation": 3, "test": 6}
    assert sorted(row[0] for rows in found.values() for row in rows) == list(range(20))
    for rows in found.values():
        assert [(row[1], row[2], row[3]) for row in rows] == [(image[i].tolist(), text[i].tolist(), [i % 3]) for i, *_ in rows]
    assert rows_of(FeatureMatReader(**settings, seed=1).read()) != found


def test_validation_is_drawn_from_train(tmp_path):
    scipy.io.savemat(tmp_path / "x.mat", split_arrays("I_tr", "T_tr", "L_tr", "I_te", "T_te", "L_te"))
    found = rows_of(FeatureMatReader(path=f"{tmp_path}/x.mat", num_validation=2).read())
    assert sorted(found["train"] + found["validation"]) == EXPECTED["train"]
    assert (len(found["validation"]), found["test"]) == (2, EXPECTED["test"])
    with pytest.raises(ReaderError, match="num_test=1, but the files have a test split"):
        FeatureMatReader(path=f"{tmp_path}/x.mat", num_test=1).read()


@pytest.mark.parametrize(
    ("labels", "settings", "expected", "num_classes"),
    [
        (np.array([[0], [2], [1], [0], [2]]), {}, [[0], [2], [1], [0], [2]], 3),
        (np.array([[1], [3], [2], [1], [3]]), {}, [[0], [2], [1], [0], [2]], 3),
        (np.array([[1], [3], [2], [1], [3]]), {"first_class": 0}, [[1], [3], [2], [1], [3]], 4),
        (np.array([[1, 3, 2, 1, 3]]), {}, [[0], [2], [1], [0], [2]], 3),
        (np.array([[1, 0, 0, 1, 1], [0, 0, 1, 1, 0]]), {}, [[0], [], [1], [0, 1], [0]], 2),
        (scipy.sparse.csc_matrix(np.array([[0, 1], [1, 1], [0, 0], [1, 0], [1, 0]])), {}, [[1], [0, 1], [], [0], [0]], 2),
        (np.array([[True, False], [False, True], [True, True], [True, False], [True, False]]), {}, [[0], [1], [0, 1], [0], [0]], 2),
    ],
)
def test_ways_to_write_labels(tmp_path, labels, settings, expected, num_classes):
    image, text, _ = block(5)
    scipy.io.savemat(tmp_path / "x.mat", {"I_tr": image, "T_tr": text, "L_tr": labels})
    source = FeatureMatReader(path=f"{tmp_path}/x.mat", **settings).read()
    assert [row[3] for row in rows_of(source)["train"]] == expected
    assert source.schema.num_classes == num_classes
    assert source.schema.multi_label is any(len(row) != 1 for row in expected)


def test_counting_from_one_is_decided_over_all_splits(tmp_path):
    (image, text, _), (image_te, text_te, _) = block(3), block(2)
    arrays = {"I_tr": image, "T_tr": text, "L_tr": [[1], [2], [1]], "I_te": image_te, "T_te": text_te, "L_te": [[0], [2]]}
    scipy.io.savemat(tmp_path / "x.mat", arrays)
    found = rows_of(FeatureMatReader(path=f"{tmp_path}/x.mat", class_names=("a", "b", "c")).read())
    assert [row[3] for row in found["train"] + found["test"]] == [[1], [2], [1], [0], [2]]


@pytest.mark.parametrize("transposed", ["auto", True])
def test_columns_that_are_pairs(tmp_path, transposed):
    image, text, labels = block(5)
    scipy.io.savemat(tmp_path / "x.mat", {"I_tr": image.T, "T_tr": text.T, "L_tr": labels.T})
    assert rows_of(FeatureMatReader(path=f"{tmp_path}/x.mat", transposed=transposed).read())["train"] == EXPECTED["train"]


def test_mapping_names_anything(tmp_path):
    image, text, labels = block(5)
    cell = np.empty((1, 2), dtype=object)
    cell[0, 0], cell[0, 1] = image, text
    scipy.io.savemat(tmp_path / "a.mat", {"views": cell, "y": labels})
    scipy.io.savemat(tmp_path / "b.mat", {"y": labels[::-1]})
    mapping = {"all": {"image": "views[0]", "text": "Views[1]", "labels": "b.mat:y"}}
    found = rows_of(FeatureMatReader(path=str(tmp_path), mapping=mapping).read())
    assert [row[:3] for row in found["train"]] == [row[:3] for row in EXPECTED["train"]]
    assert [row[3] for row in found["train"]] == [[1], [0], [2], [1], [0]]


def test_cells_of_modalities(tmp_path):
    image, text, labels = block(5)
    views, marks = np.empty((1, 2), dtype=object), np.empty((1, 2), dtype=object)
    views[0, 0], views[0, 1], marks[0, 0], marks[0, 1] = image, text, labels, labels
    scipy.io.savemat(tmp_path / "x.mat", {"train_data": views, "train_labels": marks})
    assert rows_of(FeatureMatReader(path=f"{tmp_path}/x.mat").read())["train"] == EXPECTED["train"]


def test_without_labels_class_names_may_still_be_given(tmp_path):
    image, text, _ = block(5)
    save_h5(tmp_path / "x.h5", {"train_img": image.astype(np.float16), "train_txt": text})
    source = FeatureMatReader(path=f"{tmp_path}/x.h5", class_names=("cat", "dog")).read()
    assert (source.schema.class_names, source.schema.image_dtype, source.schema.text_dtype) == (("cat", "dog"), "f16", "f32")
    assert [row[3] for row in rows_of(source)["train"]] == [None] * 5


def test_a_file_that_moved_is_the_same(tmp_path):
    path = tmp_path / "x.mat"
    scipy.io.savemat(path, dict(zip(("I_tr", "T_tr", "L_tr"), block(5), strict=True)))
    before = FeatureMatReader(path=str(path)).read().schema
    (tmp_path / "there").mkdir()
    path.rename(tmp_path / "there" / "x.mat")
    assert FeatureMatReader(path=f"{tmp_path}/there/x.mat").read().schema == before
    assert FeatureMatReader(path=f"{tmp_path}/there/x.mat", seed=1).read().schema != before


IMAGE, TEXT, LABELS = block(5)


@pytest.mark.parametrize(
    ("arrays", "settings", "message"),
    [
        ({"foo": IMAGE}, {}, r"no training features among x\.mat:foo \(5, 4\)"),
        ({"I_tr": IMAGE, "T_tr": TEXT[:4]}, {}, r"I_tr has shape \(5, 4\), .*T_tr \(4, 2\)"),
        ({"I_tr": IMAGE, "T_tr": TEXT, "L_tr": LABELS[:4]}, {}, r"L_tr has shape \(4, 3\); expected 5 rows"),
        ({"I_tr": IMAGE, "T_tr": TEXT, "L_tr": LABELS * 2}, {}, r"labels of row 0 are \[2.0, 0.0, 0.0\]; expected 0 and 1"),
        ({"I_tr": IMAGE, "T_tr": TEXT, "L_tr": [[1], [2], [-1], [1], [1]]}, {}, "class of row 2 is -1; expected a whole number from 0"),
        ({"I_tr": IMAGE, "T_tr": TEXT, "L_tr": [[1], [2], [1.5], [1], [1]]}, {}, r"class of row 2 is 1\.5"),
        ({"I_tr": IMAGE, "T_tr": TEXT, "L_tr": LABELS}, {"class_names": ("a",)}, "labels need 3 classes, class_names has 1"),
        ({"I_tr": IMAGE, "T_tr": TEXT, "L_tr": [[1, 1]] * 5}, {"multi_label": False}, "row 0 of train has 2 labels, but multi_label is false"),
        ({"I_tr": IMAGE, "T_tr": TEXT, "train_img": IMAGE}, {}, "may both be image features of split 'train'"),
        ({"I_tr": IMAGE, "T_tr": TEXT, "I_te": IMAGE[:, :3], "T_te": TEXT}, {}, "I_tr has 4 columns, .*I_te has 3"),
        ({"I_tr": IMAGE, "T_tr": TEXT, "L_tr": LABELS, "I_te": IMAGE, "T_te": TEXT}, {}, "no labels for split 'test'"),
        ({"a": IMAGE}, {"mapping": {"train": {"image": "a", "text": "b"}}}, r"mapping\.train\.text: no array 'b'"),
    ],
)
def test_what_cannot_be_understood_is_named(tmp_path, arrays, settings, message):
    scipy.io.savemat(tmp_path / "x.mat", arrays)
    with pytest.raises(ReaderError, match=message):
        FeatureMatReader(path=f"{tmp_path}/x.mat", **settings).read()


def test_pictures_are_not_features(tmp_path):
    save_h5(tmp_path / "x.h5", {"I_tr": np.zeros((5, 3, 2, 2)), "T_tr": TEXT})
    with pytest.raises(ReaderError, match=r"I_tr has shape \(5, 3, 2, 2\); expected one row of features"):
        FeatureMatReader(path=f"{tmp_path}/x.h5").read()


def test_hdf5_cut_short_after_the_index_was_made(tmp_path):
    rng = np.random.default_rng(0)
    save_v73(tmp_path / "x.mat", {"I_tr": rng.normal(size=(500, 40)), "T_tr": rng.normal(size=(500, 9))})
    source = FeatureMatReader(path=f"{tmp_path}/x.mat").read()
    (tmp_path / "x.mat").write_bytes((tmp_path / "x.mat").read_bytes()[:5000])
    with pytest.raises(ReaderError, match=r"x\.mat: cannot be read as HDF5"):
        list(source.shards())
