import numpy as np
import pytest
from pydantic import ValidationError

from xmr_ray.errors import ReaderError
from xmr_ray.readers.nus_wide import NusWideReader

WHOLE = ("Low_Level_Features/Normalized_CH.dat", "Low_Level_Features/Normalized_WT.dat")
BY_PART = ("Low_Level_Features/{part}_Normalized_CH.dat", "Low_Level_Features/{part}_Normalized_WT.dat")


@pytest.fixture
def settings(trees, tmp_path):
    return trees.nus_wide(tmp_path)


def raw_rows(**settings):
    source, rows = NusWideReader(**settings).read(), {}
    for split, records in source.shards():
        for pair_id, text, uri, labels in zip(records.pair_ids.tolist(), records.texts, records.uris, records.labels, strict=True):
            rows[pair_id] = (split, text, uri.rsplit("/", 2)[-2:], labels)
    return source, rows


def feature_rows(**settings):
    source, rows = NusWideReader(**settings, text="tag_vectors").read(), {}
    for split, records in source.shards():
        for pair_id, image, text, labels in zip(records.pair_ids.tolist(), records.image, records.text, records.labels, strict=True):
            rows[pair_id] = (split, image.tolist(), text.tolist(), labels)
    return source, rows


def test_images_and_tag_words(settings):
    source, rows = raw_rows(**settings)
    assert source.schema.class_names == ("animal", "lake", "sky")
    assert rows == {  # 4 has no concept, 5 no tag
        0: ("train", "film boat", ["actor", "0001_10.jpg"], [1, 2]),
        1: ("test", "boat", ["actor", "0002_20.jpg"], [1, 2]),
        2: ("train", "water", ["lake", "0001_30.jpg"], [0, 1, 2]),
        3: ("train", "nature water", ["lake", "0002_10.jpg"], [0]),
    }


def test_what_is_left_out_may_be_kept(settings):
    _, rows = raw_rows(**settings, drop_untagged=False, drop_unlabelled=False)
    assert rows[4] == ("test", "straße nature", ["zoo", "0001_50.jpg"], [])
    assert rows[5] == ("train", "", ["zoo", "0002_60.jpg"], [1, 2])
    assert sorted(raw_rows(**settings, drop_unlabelled=False)[1]) == [0, 1, 2, 3, 4]


def test_words_among_the_thousand(settings):
    _, rows = raw_rows(**settings, text="tag_words_1k")
    assert {i: row[1] for i, row in rows.items()} == {0: "water nature", 1: "boat", 2: "water", 3: "water boat nature"}


@pytest.mark.parametrize(
    "files",
    [
        {"features": WHOLE},
        {"features": BY_PART},
        {"features": WHOLE, "tags": "NUS_WID_Tags/{part}_Tags1k.dat"},
        {"features": BY_PART, "labels": "Groundtruth/TrainTestLabels/Labels_{concept}_{part}.txt"},
    ],
)
def test_features_and_tag_vectors_from_whole_files_and_by_part(settings, files):
    source, rows = feature_rows(**settings, **files)
    assert (source.schema.image_dim, source.schema.text_dim) == (3, 3)
    tenths = [float(np.float32(i) / np.float32(10)) for i in range(6)]
    assert rows == {
        0: ("train", [0.5, 0.0, tenths[0]], [1.0, 0.0, 1.0], [1, 2]),
        1: ("test", [1.5, -1.0, tenths[1]], [0.0, 1.0, 0.0], [1, 2]),
        2: ("train", [2.5, -2.0, tenths[2]], [1.0, 0.0, 0.0], [0, 1, 2]),
        3: ("train", [3.5, -3.0, tenths[3]], [1.0, 1.0, 1.0], [0]),
    }
    assert next(source.read("train", 1, 3)).pair_ids.tolist() == [2, 3]


def test_most_frequent_concepts_are_counted(settings, tmp_path):
    counts = {f"c{i:02d}": 1 + (i * 7) % 5 for i in range(12)}
    for name, number in counts.items():
        (tmp_path / f"Groundtruth/AllLabels/Labels_{name}.txt").write_text("".join(f"{int(k < number)}\n" for k in range(6)))
    every = {**counts, "animal": 2, "lake": 4, "sky": 4}
    best = sorted(sorted(every), key=lambda name: -every[name])[:10]
    assert raw_rows(**{**settings, "concepts": 10})[0].schema.class_names == tuple(sorted(best))
    with pytest.raises(ReaderError, match="15 files, fewer than the 21 concepts asked for"):
        raw_rows(**{**settings, "concepts": 21})


def test_named_concepts_keep_their_order(settings):
    source, rows = raw_rows(**{**settings, "concepts": ("sky", "animal")})
    assert source.schema.class_names == ("sky", "animal")
    assert [rows[i][3] for i in (0, 2, 3)] == [[0], [0, 1], [1]]
    with pytest.raises(ReaderError, match="no file for concept 'moon'; there are animal, lake, sky"):
        raw_rows(**{**settings, "concepts": ("moon",)})


def test_carved_validation_comes_from_train(settings):
    source, rows = raw_rows(**settings, carve_validation=1)
    assert source.num_rows == {"train": 2, "validation": 1, "test": 1}
    assert rows[1][0] == "test"


def test_where_it_lies_does_not_matter_what_it_holds_does(settings, trees, tmp_path):
    moved = trees.nus_wide(tmp_path / "moved")
    for reader in ({}, {"features": WHOLE, "text": "tag_vectors"}):
        base = NusWideReader(**settings, **reader).read().schema.reader
        assert NusWideReader(**moved, **reader).read().schema.reader == base
        assert NusWideReader(**{**settings, "concepts": ("sky",)}, **reader).read().schema.reader != base


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("ImageList/TestImagelist.txt", "0001_50", "0009_50", r"TestImagelist.txt: line 1: image 'zoo/0009_50.jpg' is not in Imagelist.txt"),
        ("ImageList/TestImagelist.txt", "zoo\\0001_50", "lake\\0001_30", r"TestImagelist.txt: line 1: .* was there before"),
        ("ImageList/Imagelist.txt", "0002_20", "0001_10", r"Imagelist.txt: an image is there twice"),
        (
            "Groundtruth/AllLabels/Labels_lake.txt",
            "1\n1\n1\n",
            "1\n1\n-1130179\n",
            r"Labels_lake.txt: line 3 is '-1130179', expected 0 or 1; .*AllLabels",
        ),
        ("Groundtruth/AllLabels/Labels_lake.txt", "1\n1\n1\n", "1\n1\n", r"Labels_lake.txt: 5 lines, but Imagelist.txt has 6"),
        ("NUS_WID_Tags/All_Tags.txt", "30  ", "31  ", r"All_Tags.txt: line 3 is of photo '31', but line 3 of Imagelist.txt is lake/0001_30.jpg"),
    ],
)
def test_bad_lists_are_named(settings, tmp_path, name, old, new, message):
    content = (tmp_path / name).read_bytes()
    assert old.encode() in content
    (tmp_path / name).write_bytes(content.replace(old.encode(), new.encode(), 1))
    with pytest.raises(ReaderError, match=message):
        raw_rows(**settings)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("NUS_WID_Tags/AllTags1k.txt", "1\t0\t1\t\n" * 5, r"AllTags1k.txt: 5 lines, but Imagelist.txt has 6"),
        ("NUS_WID_Tags/AllTags1k.txt", "1\t0\t1\t\n" * 2 + "1\t\n" * 4, r"AllTags1k.txt: line 3 has 1 numbers, expected 3"),
        ("Low_Level_Features/Test_Normalized_CH.dat", "1 2 \n", r"Test_Normalized_CH.dat: 1 lines, but TestImagelist.txt has 2"),
        ("Low_Level_Features/Train_Normalized_CH.dat", "1 2 \n" * 3 + "1 2 x\n", None),
        ("Low_Level_Features/Train_Normalized_CH.dat", "1 2 \n" * 2 + "1 ? \n" * 2, r"Train_Normalized_CH.dat: line 3: .*expected 2 numbers"),
    ],
)
def test_bad_features_are_named(settings, tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    if message is None:  # the line of an image that is left out is never looked at
        assert len(feature_rows(**settings, features=BY_PART)[1]) == 4
    else:
        with pytest.raises(ReaderError, match=message):
            feature_rows(**settings, features=BY_PART)


def test_tag_list_of_another_release(settings, tmp_path):
    (tmp_path / "NUS_WID_Tags/TagList1k.txt").write_text("water\nboat\n")
    with pytest.raises(ReaderError, match=r"TagList1k.txt: 2 tags, but .*AllTags1k.txt has 3 columns"):
        raw_rows(**settings, text="tag_words_1k")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text": "tag_vectors"}, "features and text: tag_vectors belong together"),
        ({"features": WHOLE}, "features and text: tag_vectors belong together"),
        ({"images": None}, "text: tag_words needs `images`"),
        ({"labels": "Groundtruth/all.txt"}, "expected a name with {concept} in it"),
    ],
)
def test_settings_that_do_not_go_together(settings, change, message):
    with pytest.raises(ValidationError, match=message):
        NusWideReader(**{**settings, **change})
