import json

import pytest

from xmr_ray.errors import ReaderError
from xmr_ray.readers.ms_coco import MsCocoReader


@pytest.fixture
def settings(trees, tmp_path):
    return trees.ms_coco(tmp_path)


@pytest.fixture
def change(tmp_path):
    """Edit one of the JSON files in place."""

    def edit(name, function):
        path = tmp_path / name
        content = json.loads(path.read_text())
        function(content)
        path.write_text(json.dumps(content))

    return edit


def found(**settings):
    source, rows = MsCocoReader(**settings).read(), {}
    for split, records in source.shards():
        labels = records.labels or [None] * len(records)
        for pair_id, text, uri, row in zip(records.pair_ids.tolist(), records.texts, records.uris, labels, strict=True):
            rows[pair_id] = (split, text, uri.rsplit("/", 2)[-2:], row)
    return source.schema, rows


def test_official_split(settings):
    schema, rows = found(**settings)
    assert schema.class_names == ("person", "stop sign", "dog", "toothbrush")
    assert schema.multi_label
    assert rows == {
        9: ("train", "Food on a table\nA meal.", ["train2014", "COCO_train2014_000000000009.jpg"], [0, 3]),
        25: ("train", "A dog sleeps.", ["train2014", "COCO_train2014_000000000025.jpg"], [2]),
        34: ("train", "A zebra.", ["train2014", "COCO_train2014_000000000034.jpg"], []),
        42: ("test", "A sign.", ["val2014", "COCO_val2014_000000000042.jpg"], [1]),
        73: ("test", "A bike.\nTwo wheels.", ["val2014", "COCO_val2014_000000000073.jpg"], []),
    }


def test_first_caption_and_one_pair_each(settings):
    _, first = found(**settings, captions_as="first")
    assert [first[i][1] for i in (9, 73)] == ["Food on a table", "A bike."]
    _, each = found(**settings, captions_as="each")
    assert {pair_id: row[1] for pair_id, row in each.items() if row[0] == "test"} == {672: "A sign.", 1168: "A bike.", 1169: "Two wheels."}
    assert each[9 * 16 + 1] == ("train", "A meal.", first[9][2], [0, 3])


def test_split_file(settings, tmp_path):
    settings |= {"split_file": f"{tmp_path}/dataset_coco.json"}
    splits = [{i: row[0] for i, row in found(**settings, restval=restval)[1].items()} for restval in ("train", "drop")]
    assert splits[0] == {9: "train", 25: "train", 34: "validation", 42: "test", 73: "train"}
    assert splits[1] == {9: "train", 34: "validation", 42: "test"}
    assert found(**settings)[1][73][2] == ["val2014", "COCO_val2014_000000000073.jpg"]


def test_unlabelled_images_may_be_left_out(settings):
    assert sorted(found(**settings, drop_unlabelled=True)[1]) == [9, 25, 42]


def test_captions_of_an_image_stay_in_one_split(settings):
    _, rows = found(**settings, captions_as="each", carve_validation=2)
    splits = {}
    for pair_id, row in rows.items():
        splits.setdefault(pair_id // 16, set()).add(row[0])
    assert all(len(found) == 1 for found in splits.values())
    assert sum(found == {"validation"} for found in splits.values()) == 2
    assert splits[42] == {"test"}


def test_everything_in_one_file_without_truth(settings, tmp_path):
    schema, rows = found(captions=settings["captions"]["train"], images=settings["images"]["train"], class_names=("cat", "dog"))
    assert (schema.has_labels, schema.class_names) == (False, ("cat", "dog"))
    assert {i: row[3] for i, row in rows.items()} == {9: None, 25: None, 34: None}


def test_several_files_of_a_split(settings):
    files = {name: {"train": tuple(settings[name].values())} for name in ("captions", "images", "instances")}
    assert {row[0] for row in found(**files)[1].values()} == {"train"}
    with pytest.raises(ReaderError, match="1 folders for the 2 caption files of 'train'"):
        found(**{**files, "images": {"train": files["images"]["train"][:1]}})


@pytest.mark.parametrize(
    ("name", "edit", "message"),
    [
        ("captions_val2014", lambda c: c["annotations"][1].update(image_id=9), r"annotations\[1\]: image_id 9 is not among the images of this file"),
        ("captions_val2014", lambda c: c["annotations"][0].update(caption=None), r"annotations\[0\]: caption is None, expected str"),
        ("captions_val2014", lambda c: c["images"][0].update(id="42"), r"images\[0\]: id is '42', expected int"),
        ("captions_val2014", lambda c: c["images"][0].update(id=9), r"images\[0\]: image 9 is there twice"),
        ("captions_val2014", lambda c: c.pop("images"), "has no list 'images' of objects"),
        ("instances_val2014", lambda c: c["annotations"][0].update(category_id=2), r"annotations\[0\]: category_id 2 is not among the categories"),
        ("instances_val2014", lambda c: c["categories"].pop(), "its categories differ from those of the first"),
    ],
)
def test_bad_annotations_are_named(settings, change, name, edit, message):
    change(f"annotations/{name}.json", edit)
    with pytest.raises(ReaderError, match=rf"{name}.json: {message}"):
        found(**settings)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda row: row.update(split="dev"), r"images\[0\]: split is 'dev'; expected train, val, test, restval"),
        (lambda row: row.update(cocoid=1), "image 1 is in no caption file"),
        (lambda row: row.pop("cocoid"), "cocoid is None"),
    ],
)
def test_bad_split_files_are_named(settings, change, tmp_path, edit, message):
    change("dataset_coco.json", lambda content: edit(content["images"][0]))
    with pytest.raises(ReaderError, match=message):
        found(**settings, split_file=f"{tmp_path}/dataset_coco.json")


def test_too_many_captions_for_their_ids(settings, change):
    more = [{"image_id": 42, "id": 100 + i, "caption": f"no. {i}"} for i in range(16)]
    change("annotations/captions_val2014.json", lambda content: content["annotations"].extend(more))
    with pytest.raises(ReaderError, match="image 42 has 17 captions, more than 16"):
        found(**settings, captions_as="each")


def test_broken_json_and_wrong_image_folder(settings, tmp_path):
    with pytest.raises(ReaderError, match=r"none/COCO_val2014_000000000042.jpg: no such image"):
        found(**{**settings, "images": {**settings["images"], "test": f"{tmp_path}/none"}})
    path = tmp_path / "annotations/captions_val2014.json"
    path.write_text(path.read_text()[:-9])
    with pytest.raises(ReaderError, match=r"captions_val2014.json: not a JSON file"):
        found(**settings)
