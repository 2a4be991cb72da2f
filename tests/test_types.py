"""Storage types against torch, label sets against a dictionary of sets, and what the types refuse."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from xmr_ray import types
from xmr_ray.errors import CorpusError, StrategyError
from xmr_ray.types import EMPTY_LABELS, DirectionReport, LabelSet, PairBatch, RetrievalReport, ScoreBlock, Selection, narrow, widen

NUM_CLASSES = 6
TORCH_DTYPES = {"bf16": torch.bfloat16, "f16": torch.float16}
label_rows = st.dictionaries(st.integers(-(2**63), 2**63 - 1), st.sets(st.integers(0, NUM_CLASSES - 1)), max_size=12)


def label_set(rows):
    return LabelSet.of(list(rows), [sorted(classes) for classes in rows.values()])


def as_dictionary(labels):
    ends = labels.offsets.tolist()
    return {int(pair_id): set(labels.classes[ends[i] : ends[i + 1]].tolist()) for i, pair_id in enumerate(labels.pair_ids_L)}


# ---- features


@given(arrays(np.float32, st.integers(0, 40), elements=st.floats(-60_000, 60_000, width=32)), st.sampled_from(["bf16", "f16"]))
def test_narrow_rounds_as_torch_does_and_widen_inverts_it(features, dtype):
    expected = torch.from_numpy(features).to(TORCH_DTYPES[dtype])
    narrowed = narrow(features, dtype)
    assert narrowed.dtype.itemsize == 2
    np.testing.assert_array_equal(narrowed.view(np.int16), expected.view(torch.int16).numpy())
    np.testing.assert_array_equal(widen(narrowed, dtype), expected.float().numpy())
    np.testing.assert_array_equal(narrow(widen(narrowed, dtype), dtype), narrowed)  # a second trip loses nothing


@given(st.integers(0, 2**16 - 1))
def test_every_bf16_pattern_but_nan_survives(pattern):
    wide = widen(np.array([pattern], dtype=np.uint16), "bf16")
    assert wide.dtype == np.float32
    if np.isnan(wide[0]):
        assert np.isnan(widen(narrow(wide, "bf16"), "bf16"))[0]
    else:
        assert narrow(wide, "bf16").tolist() == [pattern]


@pytest.mark.parametrize("dtype", ["bf16", "f16", "f32"])
def test_not_a_number_and_infinity_pass_as_they_are(dtype):
    values = np.array([np.nan, np.inf, -np.inf, -np.nan], dtype=np.float32)
    np.testing.assert_array_equal(widen(narrow(values, dtype), dtype), values)


@pytest.mark.parametrize(("value", "dtype"), [(65_520.0, "f16"), (-1e6, "f16"), (3.4e38, "bf16"), (-3.4e38, "bf16")])
def test_numbers_that_do_not_fit_are_refused(value, dtype):
    with pytest.raises(CorpusError, match=f"does not fit {dtype}; store these features as f32"):
        narrow(np.array([[1.0, value]], dtype=np.float32), dtype)
    assert widen(narrow(np.array([value], dtype=np.float32), "f32"), "f32")[0] == np.float32(value)


def test_narrow_takes_any_memory_layout():
    features_BI = np.arange(24, dtype=np.float32).reshape(4, 6)[::2, ::-1]
    for dtype in ("bf16", "f16", "f32"):
        np.testing.assert_array_equal(widen(narrow(features_BI, dtype), dtype), features_BI)


def test_a_pair_batch_widens_both_sides_and_has_no_place_for_labels():
    image_BI = np.array([[1.5, -2.0], [0.25, 8.0]], dtype=np.float32)
    text_BT = np.array([[3.0], [-0.5]], dtype=np.float32)
    batch = PairBatch(np.array([9, 4]), narrow(image_BI, "bf16"), narrow(text_BT, "f16"), "bf16", "f16")
    assert len(batch) == 2
    np.testing.assert_array_equal(batch.images(), image_BI)
    np.testing.assert_array_equal(batch.texts(), text_BT)
    assert not [field.name for field in dataclasses.fields(PairBatch) if "label" in field.name or "class" in field.name]


def test_a_descriptor_names_its_files():
    assert types.Descriptor(index=12, split="train", file="a.parquet", row_group=3, num_rows=10).name == "train-000012"


# ---- labels


@given(label_rows)
def test_label_set_keeps_what_it_was_given(rows):
    labels = label_set(rows)
    assert as_dictionary(labels) == rows
    assert len(labels) == len(rows)
    assert labels.pair_ids_L.tolist() == sorted(rows)


@given(label_rows, st.lists(st.integers(-3, 3), max_size=8))
def test_positions_and_dense_equal_a_loop(rows, others):
    labels, asked = label_set(rows), [*others, *rows, *others]
    at = labels.positions(asked)
    dense_BC = labels.dense(asked, num_classes=NUM_CLASSES)
    assert dense_BC.shape == (len(asked), NUM_CLASSES)
    assert dense_BC.dtype == np.float32
    for position, row, pair_id in zip(at, dense_BC, asked, strict=True):
        assert position == (sorted(rows).index(pair_id) if pair_id in rows else -1)
        assert row.tolist() == [float(c in rows.get(pair_id, set())) for c in range(NUM_CLASSES)]


@given(label_rows, st.data())
def test_take_equals_a_loop(rows, data):
    wanted = data.draw(st.lists(st.sampled_from(sorted(rows)), unique=True)) if rows else []
    assert as_dictionary(label_set(rows).take(wanted)) == {pair_id: rows[pair_id] for pair_id in wanted}


@given(label_rows, label_rows)
def test_merge_equals_a_union_and_refuses_shared_pairs(left, right):
    if left.keys() & right.keys():
        with pytest.raises(CorpusError, match="repeated"):
            label_set(left).merge(label_set(right))
    else:
        assert as_dictionary(label_set(left).merge(label_set(right))) == left | right


def test_the_empty_label_set_is_neutral():
    labels = LabelSet.of([3, 1], [[0], [1, 2]])
    for merged in (labels.merge(EMPTY_LABELS), EMPTY_LABELS.merge(labels)):
        assert as_dictionary(merged) == {1: {1, 2}, 3: {0}}
    assert EMPTY_LABELS.dense([4, 5], num_classes=2).tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert len(EMPTY_LABELS.take([])) == len(LabelSet.of([], [])) == 0


def test_label_sets_refuse_what_cannot_be():
    labels = LabelSet.of([3, 5], [[0], [4]])
    with pytest.raises(CorpusError, match="pair_id 5 is repeated"):
        LabelSet.of([5, 3, 5], [[0], [1], [2]])
    with pytest.raises(CorpusError, match="out of order"):
        LabelSet(np.array([5, 3]), np.array([0, 1, 2]), np.array([0, 1], dtype=np.int32))
    with pytest.raises(CorpusError, match="2 pairs but 1 lists"):
        LabelSet.of([3, 5], [[0]])
    with pytest.raises(CorpusError, match="no labels for pair_id 4; it holds 2 pairs"):
        labels.take([3, 4])
    with pytest.raises(CorpusError, match="pair_id 5 has class 4, expected 0 to 3"):
        labels.dense([3, 5], num_classes=4)
    with pytest.raises(CorpusError, match="pair_id 1 has class -1"):
        LabelSet.of([1], [[-1]]).dense([1], num_classes=4)


# ---- scores and results


def test_a_score_block_refuses_repeats_shapes_and_what_is_not_finite():
    ids = np.array([4, 9, 2])
    with pytest.raises(StrategyError, match="pair_id 4 is repeated"):
        ScoreBlock(np.array([4, 9, 4]))
    with pytest.raises(StrategyError, match=r"column 'entropy' has shape \(2,\), expected \(3,\)"):
        ScoreBlock(ids, {"entropy": np.zeros(2)})
    for bad in (np.nan, np.inf, -np.inf):
        with pytest.raises(StrategyError, match="column 'entropy' is not finite at pair_id 9"):
            ScoreBlock(ids, {"entropy": np.array([0.0, bad, 1.0])})


def test_only_keeps_rows_with_their_columns():
    block = ScoreBlock(np.array([4, 9, 2]), {"a": np.array([0.0, 1.0, 2.0]), "b": np.array([5.0, 6.0, 7.0])})
    kept = block.only(np.array([True, False, True]))
    assert kept.pair_ids_B.tolist() == [4, 2]
    assert {name: values.tolist() for name, values in kept.columns.items()} == {"a": [0.0, 2.0], "b": [5.0, 7.0]}
    assert (len(block), len(kept), len(block.only(np.zeros(3, dtype=bool)))) == (3, 2, 0)


def test_results_count_and_average():
    assert len(Selection(np.array([3, 1]), np.array([0.5, 0.2]))) == 2
    one, other = (DirectionReport(map_all=value, map_50=0.9, recall={1: 0.1}, num_queries=5, num_without_relevant=0) for value in (0.25, 0.75))
    assert RetrievalReport(i2t=one, t2i=other).map_mean == 0.5


def test_the_nouns_are_frozen():
    nouns = [value for value in vars(types).values() if dataclasses.is_dataclass(value) and isinstance(value, type)]
    assert len(nouns) >= 9
    assert all(noun.__dataclass_params__.frozen for noun in nouns)
