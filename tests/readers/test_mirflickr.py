import pytest

from xmr_ray.errors import ReaderError
from xmr_ray.readers.mirflickr import MirflickrReader


@pytest.fixture
def settings(trees, tmp_path):
    return trees.mirflickr(tmp_path)


def found(**settings):
    source, rows = MirflickrReader(**settings).read(), {}
    for split, records in source.shards():
        for pair_id, text, uri, labels in zip(records.pair_ids.tolist(), records.texts, records.uris, records.labels, strict=True):
            rows[pair_id] = (split, text, uri.rsplit("/", 1)[-1], labels)
    return source, rows


def test_images_with_a_frequent_tag_and_a_label(settings):
    source, rows = found(**settings)
    assert sorted(rows) == list(range(1, 20))  # 20 has no label, 21 only a tag that 19 images have
    assert source.schema.class_names == ("baby", "clouds", "night")
    assert source.num_rows == {"train": 13, "validation": 2, "test": 4}
    assert [rows[i][1:] for i in (1, 2, 3)] == [("sky", "im1.jpg", [0]), ("sky", "im2.jpg", [0, 1]), ("sky rare", "im3.jpg", [1])]


def test_full_set_keeps_images_without_tags_and_labels(settings):
    source, rows = found(**settings, convention="full")
    assert sorted(rows) == list(range(1, 26))
    assert source.num_rows == {"train": 19, "validation": 2, "test": 4}
    assert [rows[i][1] for i in (21, 22, 23, 24, 25)] == ["rare", "", "hund", "", "café"]
    assert [rows[i][3] for i in (20, 21, 22)] == [[], [0], [2]]


@pytest.mark.parametrize(
    ("annotations", "names", "labels"),
    [("relevant", ("baby_r1", "clouds_r1"), [[0], [1]]), ("both", ("baby", "baby_r1", "clouds", "clouds_r1", "night"), [[0, 1, 2], [2, 3]])],
)
def test_relevant_labels(settings, annotations, names, labels):
    source, rows = found(**settings, annotations=annotations, convention="full")
    assert source.schema.class_names == names
    assert [rows[i][3] for i in (2, 3)] == labels


def test_annotations_lie_beside_the_images_by_default(settings, tmp_path):
    (tmp_path / "mirflickr25k_annotations_v080").rename(tmp_path / "mirflickr" / "annotations")
    settings.pop("annotation_folder")
    assert len(found(**settings)[1]) == 19


def test_seed_decides_about_splits(settings):
    splits = [{i for i, row in found(**settings, seed=seed)[1].items() if row[0] == "test"} for seed in (0, 0, 1)]
    assert splits[0] == splits[1] != splits[2]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("night.txt", "22\n26\n", "night.txt: line 2: '26' is not the number of an image"),
        ("night.txt", "22\n\n22\n", "night.txt: line 2: ''"),
        ("night.txt", "22\n22\n", "night.txt: line 2: '22' is there twice"),
        ("../mirflickr/meta/tags/tags26.txt", "sky\n", "tags: number 26 has tags, but no image in .*mirflickr;"),
        ("../mirflickr/im26.jpg", "", "mirflickr: number 26 has image, but no tags in .*meta/tags;"),
    ],
)
def test_what_does_not_fit_is_named(settings, tmp_path, name, content, message):
    (tmp_path / "mirflickr25k_annotations_v080" / name).write_text(content)
    with pytest.raises(ReaderError, match=message):
        found(**settings)


def test_wrong_folders_and_encodings(settings, tmp_path):
    with pytest.raises(ReaderError, match=r"holds no im1.jpg and so on"):
        found(**{**settings, "folder": f"{tmp_path}/none"})
    with pytest.raises(ReaderError, match="no file of potential labels"):
        found(**{**settings, "annotation_folder": f"{tmp_path}/none"})
    (tmp_path / "mirflickr/meta/tags/tags3.txt").write_bytes(b"sky\ncaf\xe9\n")
    with pytest.raises(ReaderError, match=r"tags3.txt: line 2 is not utf-8-sig"):
        found(**settings)
    assert found(**settings, encoding="latin-1")[1][3][1] == "sky café"


def test_drawing_more_than_there_are(settings):
    with pytest.raises(ReaderError, match="leaves nothing to train on"):
        found(**{**settings, "num_test": 17})
