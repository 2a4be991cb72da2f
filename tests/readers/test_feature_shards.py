import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xmr_ray.errors import ReaderError
from xmr_ray.readers.feature_shards import FeatureShardsReader

SIZES = {0: 4, 2: 3, 10: 5}


def metadata(rows):
    return pa.table(
        {
            "image_path": [f"images/{i}.jpg" for i in rows],
            "caption": [f"caption {i}" for i in rows],
            "url": [f"https://example.com/{i}.jpg" for i in rows],
            "key": [1000 - i for i in rows],
            "tags": [["cat", "dog"][: 1 + i % 2] for i in rows],
            "part": [("train", "test", "val")[i % 3] for i in rows],
        }
    )


def write(folder, *, flat=False, padded=False, dtype=np.float16, sizes=SIZES, **options):
    first = 0
    for number, num_rows in sizes.items():
        rows = range(first, first + num_rows)
        name = f"{number:04d}" if padded else str(number)
        for kind in ("img_emb", "text_emb", "metadata"):
            (folder if flat else folder / kind).mkdir(exist_ok=True, parents=True)
        where = {kind: folder if flat else folder / kind for kind in ("img_emb", "text_emb", "metadata")}
        np.save(where["img_emb"] / f"img_emb_{name}.npy", np.array([[i, i / 2, 1] for i in rows], dtype=dtype))
        np.save(where["text_emb"] / f"text_emb_{name}.npy", np.array([[-i, 2] for i in rows], dtype=dtype))
        pq.write_table(metadata(rows), where["metadata"] / f"metadata_{name}.parquet", row_group_size=2, **options)
        first += num_rows
    return str(folder)


def rows_of(batches):
    """(id, image, text, labels, caption, uri) of every pair."""
    found = []
    for records in batches:
        lists = [values if values is not None else [None] * len(records) for values in (records.labels, records.captions, records.uris)]
        found += list(zip(records.pair_ids.tolist(), records.image.tolist(), records.text.tolist(), *lists, strict=True))
    return found


@pytest.mark.parametrize("layout", [{}, {"flat": True}, {"padded": True}])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_shards_are_read_in_the_order_of_their_numbers(tmp_path, layout, dtype):
    source = FeatureShardsReader(path=write(tmp_path, dtype=dtype, **layout)).read()
    expected = [(i, [i, i / 2, 1], [-i, 2], None, f"caption {i}", f"images/{i}.jpg") for i in range(12)]
    assert rows_of(source.read("train", 0, 12)) == expected
    assert rows_of(source.read("train", 3, 8)) == expected[3:8]
    assert source.num_rows == {"train": 12, "validation": 0, "test": 0}
    assert source.schema.image_dtype == source.schema.text_dtype == ("f16" if dtype == np.float16 else "f32")
    assert source.schema.has_captions
    assert source.schema.has_uris


def test_columns_of_the_metadata(tmp_path):
    reader = FeatureShardsReader(path=write(tmp_path), uri="url", pair_id="key", labels="tags", split_column="part")
    source = reader.read()
    assert source.schema.class_names == ("cat", "dog")
    assert source.schema.multi_label
    for k, split in enumerate(("train", "test", "validation")):
        rows = range(k, 12, 3)
        expected = [(1000 - i, [i, i / 2, 1], [-i, 2], [0, 1][: 1 + i % 2], f"caption {i}", f"https://example.com/{i}.jpg") for i in rows]
        assert rows_of(source.read(split, 0, source.num_rows[split])) == expected


def test_drawn_splits_hold_every_pair_once(tmp_path):
    source = FeatureShardsReader(path=write(tmp_path), num_test=4, num_validation=3).read()
    found = [row for split in source.num_rows for row in rows_of(source.read(split, 0, source.num_rows[split]))]
    assert source.num_rows == {"train": 5, "validation": 3, "test": 4}
    assert sorted(row[0] for row in found) == list(range(12))
    assert all(row[1:3] == ([row[0], row[0] / 2, 1], [-row[0], 2]) for row in found)


def test_rows_far_apart_are_read_in_windows(tmp_path):
    num_rows = 30_000
    write(tmp_path, sizes={0: 1})
    features = np.arange(num_rows, dtype=np.float32)[:, None]
    for kind in ("img_emb", "text_emb"):
        np.save(tmp_path / kind / f"{kind}_0.npy", features)
    pq.write_table(pa.table({"caption": [str(i) for i in range(num_rows)]}), tmp_path / "metadata" / "metadata_0.parquet", row_group_size=1000)
    source = FeatureShardsReader(path=str(tmp_path), num_test=50).read()
    for split in ("train", "test"):
        rows = rows_of(source.read(split, 0, source.num_rows[split]))
        assert len(rows) == source.num_rows[split]
        assert all(row[1] == [row[0]] and row[4] == str(row[0]) for row in rows)


def test_without_metadata_there_are_no_captions(tmp_path):
    write(tmp_path, flat=True)
    for file in tmp_path.glob("*.parquet"):
        file.unlink()
    source = FeatureShardsReader(path=str(tmp_path)).read()
    assert (source.schema.has_captions, source.schema.has_uris) == (False, False)
    assert len(rows_of(source.read("train", 0, 12))) == 12
    with pytest.raises(ReaderError, match=r"no metadata for .*img_emb_0\.npy, so no column 'tags'"):
        FeatureShardsReader(path=str(tmp_path), labels="tags").read()


def test_moved_shards_are_the_same(tmp_path):
    before = FeatureShardsReader(path=write(tmp_path / "a"), source="s").read().schema
    assert FeatureShardsReader(path=write(tmp_path / "b"), source="s").read().schema == before
    assert FeatureShardsReader(path=write(tmp_path / "c", dtype=np.float32), source="s").read().schema != before


def spoil_rows(folder):
    np.save(folder / "text_emb" / "text_emb_2.npy", np.zeros((9, 2), dtype=np.float16))


def spoil_metadata(folder):
    pq.write_table(metadata(range(9)), folder / "metadata" / "metadata_2.parquet")


def spoil_width(folder):
    np.save(folder / "img_emb" / "img_emb_2.npy", np.zeros((3, 7), dtype=np.float16))


def spoil_by_pickle(folder):
    np.save(folder / "img_emb" / "img_emb_2.npy", np.array([{"a": 1}] * 3, dtype=object), allow_pickle=True)


def cut_short(folder):
    path = folder / "img_emb" / "img_emb_2.npy"
    path.write_bytes(path.read_bytes()[:-3])


def take_away(folder):
    (folder / "text_emb" / "text_emb_10.npy").unlink()


def repeat(folder):
    np.save(folder / "img_emb" / "img_emb_02.npy", np.zeros((3, 3), dtype=np.float16))


def no_npy(folder):
    (folder / "img_emb" / "img_emb_0.npy").write_bytes(b"words")


def no_parquet(folder):
    (folder / "metadata" / "metadata_0.parquet").write_bytes(b"words" * 10)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_rows, r"text_emb_2\.npy: 9 rows for 3 in .*img_emb_2\.npy; misaligned shard"),
        (spoil_metadata, r"metadata_2\.parquet: 9 rows for 3 vectors in .*img_emb_2\.npy; misaligned"),
        (spoil_width, r"img_emb_2\.npy: rows of 7 <f2, in .*img_emb_0\.npy of 3 <f2"),
        (spoil_by_pickle, r"img_emb_2\.npy: holds object"),
        (cut_short, r"img_emb_2\.npy: \d+ bytes are too few for 3 rows of 3 float16; cut short"),
        (take_away, r"img_emb_10\.npy: shard 10 has no text_emb file"),
        (repeat, r"img_emb_2\.npy: shard 2 is there twice"),
        (no_npy, r"img_emb_0\.npy: not a \.npy file"),
        (no_parquet, r"metadata_0\.parquet: cannot be opened as Parquet"),
    ],
)
def test_damage_is_named(tmp_path, spoil, message):
    write(tmp_path)
    spoil(tmp_path)
    with pytest.raises(ReaderError, match=message):
        FeatureShardsReader(path=str(tmp_path)).read()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"caption": "title"}, r"metadata_0\.parquet: no column 'title'; it has image_path, caption"),
        ({"split_column": "part", "num_test": 1}, "do not go with split_column='part'"),
        ({"split_column": "caption"}, r"metadata_0\.parquet: row 0 is in split 'caption 0'"),
        ({"pair_id": "url"}, r"metadata_0\.parquet: from row 0: ids are string"),
    ],
)
def test_settings_that_do_not_fit_are_named(tmp_path, settings, message):
    with pytest.raises(ReaderError, match=message):
        list(FeatureShardsReader(path=write(tmp_path), **settings).read().shards())


def test_missing_folder(tmp_path):
    with pytest.raises(ReaderError, match="nowhere: no such folder"):
        FeatureShardsReader(path=f"{tmp_path}/nowhere").read()
    with pytest.raises(ReaderError, match=r"no img_emb_0\.npy here"):
        FeatureShardsReader(path=str(tmp_path)).read()
