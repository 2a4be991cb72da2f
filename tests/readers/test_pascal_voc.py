import pytest

from xmr_ray.errors import ReaderError
from xmr_ray.readers.pascal_voc import CLASSES, PascalVocReader, number_of_id


@pytest.fixture
def settings(trees, tmp_path):
    return trees.pascal_voc(tmp_path)


def found(**settings):
    source, rows = PascalVocReader(**settings).read(), {}
    for split, records in source.shards():
        for pair_id, text, uri, labels in zip(records.pair_ids.tolist(), records.texts, records.uris, records.labels, strict=True):
            rows[pair_id] = (split, text, uri.rsplit("/", 2)[-2:], [CLASSES[label] for label in labels])
    return source, rows


def test_official_lists(settings):
    source, rows = found(**settings)
    assert (len(source.schema.class_names), source.schema.multi_label) == (20, True)
    assert rows == {
        5: ("train", "living room", ["JPEGImages", "000005.jpg"], ["chair"]),
        7: ("train", "car", ["JPEGImages", "000007.jpg"], ["car"]),
        9: ("train", "", ["JPEGImages", "000009.jpg"], ["horse", "person"]),
        12: ("train", "puppy garden", ["JPEGImages", "000012.jpg"], []),
        1: ("test", "dog man", ["JPEGImages", "000001.jpg"], ["dog", "person"]),
    }


def test_difficult_objects_may_count(settings):
    _, rows = found(**settings, difficult="keep")
    assert [rows[i][3] for i in (5, 9, 12)] == [["chair", "sofa"], ["horse", "person"], ["dog"]]


def test_finer_lists_and_carving(settings):
    _, rows = found(**settings, splits={"train": "train", "validation": "val", "test": "test"})
    assert {i: row[0] for i, row in rows.items()} == {5: "train", 9: "train", 7: "validation", 12: "validation", 1: "test"}
    assert found(**settings, carve_validation=1)[0].num_rows == {"train": 3, "validation": 1, "test": 1}


def test_images_without_text_may_be_left_out(settings):
    assert sorted(found(**settings, drop_untagged=True)[1]) == [1, 5, 7, 12]
    assert found(**settings, drop_untagged=True, carve_validation=2)[0].num_rows == {"train": 1, "validation": 2, "test": 1}


def test_lists_that_overlap(settings):
    with pytest.raises(ReaderError, match=r"val.txt: line 1: image 000007 is also in trainval.txt"):
        found(**settings, splits={"train": "trainval", "validation": "val"})


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "VOC2007/Annotations/000007.xml",
            "<annotation><object><name>horse cart</name></object></annotation>",
            "000007.xml: object 0 is 'horse cart'",
        ),
        ("VOC2007/Annotations/000007.xml", "<annotation><object/></annotation>", "000007.xml: object 0 is ''"),
        ("VOC2007/Annotations/000007.xml", '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>', "000007.xml: holds a document type"),
        ("VOC2007/Annotations/000007.xml", "<annotation>", "000007.xml: not well-formed XML"),
        ("VOC2007/ImageSets/Main/trainval.txt", "000005\n../7\n", r"trainval.txt: line 2: image id '../7'"),
        ("VOC2007/ImageSets/Main/trainval.txt", "000005\n000006\n", r"000006.txt: no such file"),
    ],
)
def test_bad_files_are_named(settings, tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(ReaderError, match=message):
        found(**settings)


def test_ids_are_digits():
    assert number_of_id("2008_000251", where="x") == 2008000251
    for name in ("", "12a", "٣", "1" * 19):
        with pytest.raises(ReaderError, match="x: image id"):
            number_of_id(name, where="x")
