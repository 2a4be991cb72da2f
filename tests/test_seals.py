import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xmr_ray import storage
from xmr_ray.errors import StorageError
from xmr_ray.seals import open_json, read_sealed_table, seal_json, seal_table

TABLE = pa.table({"pair_id": [3, 1], "answer": ["a", "b"], "labels": pa.array([[1, 2], []], pa.list_(pa.int32())), "score": [0.5, float("nan")]})


def test_a_sealed_table_reads_back_in_whole_and_in_part(tmp_path):
    path = str(tmp_path / "t.parquet")
    storage.write_table(path, seal_table(TABLE.replace_schema_metadata({"version": "x"})))
    back = read_sealed_table(path)
    assert back.drop_columns(["score", "labels"]).to_pydict() == TABLE.drop_columns(["score", "labels"]).to_pydict()
    assert back["labels"].to_pylist() == [[1, 2], []]
    assert back.schema.metadata[b"version"] == b"x"
    assert read_sealed_table(path, ["labels"]).column_names == ["labels"]


def test_chunks_do_not_matter_and_values_types_and_names_do(tmp_path):
    seals = seal_table(TABLE).schema.metadata[b"seals"]
    chunked = pa.concat_tables([TABLE.slice(0, 1), TABLE.slice(1)])
    assert seal_table(chunked).schema.metadata[b"seals"] == seals
    for changed in (
        TABLE.set_column(0, "pair_id", pa.array([3, 2])),
        TABLE.set_column(0, "pair_id", pa.array([3, 1], pa.int32())),
        TABLE.set_column(1, "answer", pa.array(["a", "c"])),
        TABLE.set_column(2, "labels", pa.array([[1], [2]], pa.list_(pa.int32()))),
        TABLE.rename_columns({"score": "scorf"}),
    ):
        path = str(tmp_path / "t.parquet")
        pq.write_table(changed.replace_schema_metadata({"seals": seals}), path)
        with pytest.raises(StorageError, match=r"t\.parquet: damaged, column"):
            read_sealed_table(path)


def test_a_seal_that_cannot_be_read_is_damage_and_none_is_an_older_file(tmp_path):
    path = str(tmp_path / "t.parquet")
    for seals in (b"{", b"[]", b"\xff"):
        pq.write_table(TABLE.replace_schema_metadata({"seals": seals}), path)
        with pytest.raises(StorageError, match=r"t\.parquet: damaged"):
            read_sealed_table(path)
    pq.write_table(TABLE, path)
    assert read_sealed_table(path)["pair_id"].to_pylist() == [3, 1]


def test_json_keeps_its_values_and_refuses_others():
    content = {"b": [1, 2.5, None], "a": {10: 1, 9: 2}}
    data = seal_json(content)
    assert open_json(data) == {"b": [1, 2.5, None], "a": {"10": 1, "9": 2}}
    assert open_json(json.dumps({"old": 1}).encode()) == {"old": 1}
    for wrong in (data.replace(b"2.5", b"2.6"), data[:-3], b"[1]", data.replace(b'"seal": "', b'"seal": "0')):
        with pytest.raises(ValueError, match=r".+"):
            open_json(wrong)
