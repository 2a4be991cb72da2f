import numpy as np
import pytest
import scipy.io

from xmr_ray.errors import ReaderError
from xmr_ray.readers.wikipedia import WikipediaReader


@pytest.fixture
def settings(trees, tmp_path):
    return trees.wikipedia(tmp_path)


@pytest.fixture
def features(settings):
    return {**settings, "features": True}


def raw_rows(**settings):
    rows = {}
    for split, records in WikipediaReader(**settings).read().shards():
        for pair_id, text, uri, labels in zip(records.pair_ids.tolist(), records.texts, records.uris, records.labels, strict=True):
            rows[pair_id] = (split, text, uri.rsplit("/", 2)[-2:], labels)
    return rows


def test_texts_and_images(settings):
    assert raw_rows(**settings) == {
        0: ("train", "Of biology & more.", ["biology", "x1.jpg"], [1]),
        1: ("train", "Of warfare & more.", ["warfare", "x2.jpg"], [9]),
        2: ("train", "Of art & more.", ["art", "x3.jpg"], [0]),
        3: ("train", "Of biology & more.", ["biology", "x4.jpg"], [1]),
        4: ("test", "Of warfare & more.", ["warfare", "y1.jpg"], [9]),
        5: ("test", "Of art & more.", ["art", "y2.jpg"], [0]),
    }


def test_features_keep_the_order_of_the_lists(features, tmp_path):
    arrays = scipy.io.loadmat(tmp_path / "raw_features.mat")
    source = WikipediaReader(**features).read()
    assert (source.schema.image_dim, source.schema.text_dim, source.schema.multi_label) == (5, 3, False)
    assert source.schema.class_names[9] == "warfare"
    train, test = (next(source.read(split, 0, source.num_rows[split])) for split in ("train", "test"))
    assert np.array_equal(train.image, arrays["I_tr"])
    assert np.array_equal(train.text, arrays["T_tr"])
    assert np.array_equal(test.image, arrays["I_te"])
    assert np.array_equal(test.text, arrays["T_te"])
    assert (train.labels, test.labels) == ([[1], [9], [0], [1]], [[9], [0]])
    assert (train.pair_ids.tolist(), test.pair_ids.tolist()) == ([0, 1, 2, 3], [4, 5])
    part = next(source.read("train", 1, 3))
    assert part.pair_ids.tolist() == [1, 2]
    assert np.array_equal(part.image, arrays["I_tr"][1:3])


def test_carved_validation_is_the_same_for_features_and_texts(features, settings, tmp_path):
    arrays = scipy.io.loadmat(tmp_path / "raw_features.mat")
    source = WikipediaReader(**features, carve_validation=1).read()
    assert source.num_rows == {"train": 3, "validation": 1, "test": 2}
    drawn = next(source.read("validation", 0, 1))
    assert np.array_equal(drawn.image[0], arrays["I_tr"][drawn.pair_ids[0]])
    rows = raw_rows(**settings, carve_validation=1)
    assert [i for i, row in rows.items() if row[0] == "validation"] == drawn.pair_ids.tolist()


def test_rows_that_disagree_with_the_list(features, tmp_path):
    path = tmp_path / "trainset_txt_img_cat.list"
    path.write_text(path.read_text().split("\n", 1)[1])
    with pytest.raises(ReaderError, match=r"raw_features.mat: I_tr has 4 rows, but trainset_txt_img_cat.list 3 lines"):
        WikipediaReader(**features).read()


@pytest.mark.parametrize("line", ["a\tb", "a\tb\t11", "a\tb\t0", "a\tb\tart", ""])
def test_bad_lines_are_named(settings, tmp_path, line):
    (tmp_path / "testset_txt_img_cat.list").write_text(f"e5\ty1\t10\n{line}\nf6\ty2\t1\n")
    with pytest.raises(ReaderError, match=r"testset_txt_img_cat.list: line 2 is .* expected text, image and a class from 1 to 10"):
        raw_rows(**settings)


def test_bad_mat_files(features, tmp_path):
    path = tmp_path / "raw_features.mat"
    scipy.io.savemat(path, {"I_tr": np.zeros((4, 5)), "T_tr": np.zeros((4, 3)), "I_te": np.zeros((2, 5))})
    with pytest.raises(ReaderError, match="T_te is missing"):
        WikipediaReader(**features).read()
    path.write_bytes(b"MATLAB 7.3 MAT-file" + bytes(600))
    with pytest.raises(ReaderError, match=r"raw_features.mat: not a MATLAB 5 file"):
        WikipediaReader(**features).read()


def test_texts_that_are_not_well_formed(settings, tmp_path):
    (tmp_path / "texts/c3.xml").write_bytes(b"<document><text>AT&T &amp; co.\n<text> caf\xe9</text></document>")
    with pytest.raises(ReaderError, match=r"c3.xml: not well-formed XML .* or set malformed: extract"):
        raw_rows(**settings)
    assert raw_rows(**settings, malformed="extract")[2][1] == "AT&T & co. <text> caf\ufffd"
    (tmp_path / "texts/c3.xml").write_text('<!DOCTYPE d [<!ENTITY x SYSTEM "file:///etc/passwd">]><d><text>&x;</text></d>')
    with pytest.raises(ReaderError, match=r"c3.xml: holds a document type"):
        raw_rows(**settings)
    (tmp_path / "texts/c3.xml").write_text("<document><text> \n</text></document>")
    with pytest.raises(ReaderError, match=r"c3.xml: no words between"):
        raw_rows(**settings)
