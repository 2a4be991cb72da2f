import numpy as np
import pyarrow as pa
import pytest

from xmr_ray.corpus.columns import feature_array, feature_field, feature_matrix, pairs_schema, stored_as, truth_schema
from xmr_ray.corpus.schema import CorpusSchema
from xmr_ray.errors import CorpusError

ROWS = np.array([[1.5, -2.0, 0.25], [3.0, 4.0, -5.5], [0.0, 1.0, 2.0], [7.0, 8.0, 9.0]], dtype=np.float32)


def binary(dtype="f32"):
    return feature_array(stored_as(ROWS, dtype), dtype)


def as_tensor():
    return pa.FixedShapeTensorArray.from_numpy_ndarray(ROWS)


ENCODINGS = {
    "binary": binary(),
    "binary, sliced": pa.concat_arrays([binary(), binary()]).slice(4),
    "list": pa.array(ROWS.tolist(), type=pa.list_(pa.float32())),
    "list, sliced": pa.array([[0.0] * 5, *ROWS.tolist()], type=pa.list_(pa.float32())).slice(1),
    "list of doubles": pa.array(ROWS.tolist(), type=pa.list_(pa.float64())),
    "large list": pa.array(ROWS.tolist(), type=pa.large_list(pa.float32())),
    "fixed-size list": pa.array(ROWS.tolist(), type=pa.list_(pa.float32(), 3)),
    "fixed-size list, sliced": pa.array([[0.0] * 3, *ROWS.tolist()], type=pa.list_(pa.float32(), 3)).slice(1),
    "tensor": as_tensor(),
    "list of halves": pa.array([[np.float16(x) for x in row] for row in ROWS], type=pa.list_(pa.float16())),
}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_encoding_gives_the_same_matrix(encoding):
    matrix = feature_matrix(pa.chunked_array([ENCODINGS[encoding]]), dtype="f32", width=3, where="x")
    assert matrix.dtype == np.float32
    assert matrix.tolist() == ROWS.tolist()


@pytest.mark.parametrize("dtype", ["bf16", "f16", "f32"])
def test_binary_keeps_bits_over_several_chunks(dtype):
    stored = stored_as(ROWS, dtype)
    column = pa.chunked_array([binary(dtype).slice(0, 1), binary(dtype).slice(1, 0), binary(dtype).slice(1)])
    matrix = feature_matrix(column, dtype=dtype, width=3, where="x")
    assert matrix.dtype == stored.dtype
    assert np.array_equal(matrix, stored)


def test_binary_in_one_chunk_is_not_copied():
    column = binary()
    matrix = feature_matrix(pa.chunked_array([column]), dtype="f32", width=3, where="x")
    assert matrix.__array_interface__["data"][0] == column.buffers()[1].address


def test_bytes_are_little_endian():
    assert binary("bf16")[0].as_py() == bytes.fromhex("c03f 00c0 803e")


def test_bfloat_bits_in_a_list_are_kept():
    column = pa.array([[0x3FC0, 0xC000]], type=pa.list_(pa.uint16()))
    assert feature_matrix(pa.chunked_array([column]), dtype="bf16", width=2, where="x").tolist() == [[0x3FC0, 0xC000]]


def test_no_rows_give_an_empty_matrix():
    assert feature_matrix(pa.chunked_array([], type=pa.binary(12)), dtype="f32", width=3, where="x").shape == (0, 3)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pa.array([b"12345678"], type=pa.binary(8)), "8 bytes, expected 12"),
        (pa.array([[1.0] * 3, [1.0] * 2], type=pa.list_(pa.float32())), "row 1 holds 2 numbers, expected 3"),
        (pa.array([[1.0] * 4], type=pa.list_(pa.float32(), 4)), "row 0 holds 4 numbers"),
        (pa.array([[1.0] * 3, None], type=pa.list_(pa.float32())), "null in row 1"),
        (pa.array([[1.0, None, 2.0]], type=pa.list_(pa.float32())), "1 nulls"),
        (pa.array([["a", "b", "c"]]), "expected numbers"),
        (pa.array([1.0, 2.0]), "column type is double"),
    ],
)
def test_what_is_no_vector_is_refused(column, message):
    with pytest.raises(CorpusError, match=f"^here: .*{message}"):
        feature_matrix(pa.chunked_array([column]), dtype="f32", width=3, where="here")


@pytest.mark.parametrize(("value", "dtype"), [(1e6, "f16"), (1e300, "f32"), (3.4e38, "bf16")])
def test_number_that_does_not_fit_is_refused(value, dtype):
    with pytest.raises(CorpusError, match=f"does not fit {dtype}"):
        stored_as(np.array([[0.0, value]]), dtype)


def test_infinity_passes_for_the_writer_to_refuse_by_row():
    assert stored_as(np.array([[np.inf, 1.0]]), "f16").tolist() == [[np.inf, 1.0]]


def test_field_carries_type_and_width():
    field = feature_field("image", "bf16", 5)
    assert (field.type.byte_width, field.metadata, field.nullable) == (10, {b"dtype": b"bf16", b"width": b"5"}, False)


def test_optional_columns_follow_the_schema():
    plain = CorpusSchema(image_dim=2, text_dim=2)
    assert pairs_schema(plain).names == ["pair_id", "image", "text"]
    full = plain.model_copy(update={"has_captions": True, "has_thumbnails": True})
    assert pairs_schema(full).names == ["pair_id", "image", "text", "caption", "thumbnail"]
    assert "labels" not in pairs_schema(full).names
    assert truth_schema().names == ["pair_id", "labels"]
