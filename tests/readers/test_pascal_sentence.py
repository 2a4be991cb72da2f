import pytest

from xmr_ray.errors import ReaderError
from xmr_ray.readers.pascal_sentence import PascalSentenceReader


@pytest.fixture
def settings(trees, tmp_path):
    return trees.pascal_sentence(tmp_path)


def found(**settings):
    source, rows = PascalSentenceReader(**settings).read(), {}
    for split, records in source.shards():
        for pair_id, text, uri, labels in zip(records.pair_ids.tolist(), records.texts, records.uris, records.labels, strict=True):
            rows[pair_id] = (split, text, uri.rsplit("/", 2)[-2:], labels)
    return source, rows


def test_three_images_of_every_class(settings):
    source, rows = found(**settings)
    assert sorted(rows) == [2008000000 + 100 * label + k for label in range(20) for k in range(3)]
    assert rows[2008000102][1:] == ("A bicycle number 2.\nAnother one.", ["bicycle", "2008_000102.jpg"], [1])
    assert source.schema.class_names[1] == "bicycle"
    assert not source.schema.multi_label


def test_splits_are_drawn_within_classes(settings):
    _, rows = found(**settings)
    for label in range(20):
        assert sorted(row[0] for row in rows.values() if row[3] == [label]) == ["test", "train", "validation"]
    other = found(**settings, seed=1)[1]
    assert {i: row[0] for i, row in rows.items()} != {i: row[0] for i, row in other.items()}


def test_first_sentence_and_folders_of_other_names(settings, tmp_path):
    (tmp_path / "images").rename(tmp_path / "dataset")
    assert found(**settings, image_folder="dataset", sentences_as="first")[1][2008000000][1:3] == (
        "A aeroplane number 0.",
        ["aeroplane", "2008_000000.jpg"],
    )


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("sentences/dog/2008_009999.txt", "Alone.", r"sentences/dog: '2008_009999' has only one of image and sentences"),
        ("sentences/dog/2008_001101.txt", "\n \n", "2008_001101.txt: holds no sentence"),
    ],
)
def test_bad_files_are_named(settings, tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(ReaderError, match=message):
        found(**settings)


def test_missing_class(settings, tmp_path):
    (tmp_path / "images/cow").rename(tmp_path / "images/cows")
    with pytest.raises(ReaderError, match=r"images/cow: holds no .jpg file; expected one folder for each of the 20 classes"):
        found(**settings)
