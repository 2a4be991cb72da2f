import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from xmr_ray.retrieval.keys import KeyRanker, segment_sums


@given(arrays(np.float32, st.integers(1, 40), elements=st.floats(-1, 1, width=32)))
def test_keys_sort_like_similarity_then_position(similarities):
    ranker = KeyRanker(np.ones((len(similarities), 1), np.uint64))
    keys = ranker.pack(similarities[None].copy(), np.ones((1, 1), np.uint64))[0]
    assert np.argsort(keys).tolist() == sorted(range(len(similarities)), key=lambda i: (-similarities[i], i))


@given(arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 140))), st.data())
def test_lowest_bit_is_the_relevance_over_any_number_of_words(labels, data):
    from xmr_ray.retrieval.relevance import pack_labels

    query = data.draw(arrays(np.bool_, labels.shape[1]))
    words = pack_labels(np.vstack([query[None], labels]))
    keys = KeyRanker(words[1:]).pack(np.zeros((1, len(labels)), np.float32), words[:1])[0]
    assert (keys & np.uint64(1)).tolist() == [int((query & row).any()) for row in labels]


@given(st.lists(st.integers(0, 4), min_size=1, max_size=9))
def test_segment_sums_of_neighbouring_segments(lengths):
    ends = np.cumsum(lengths)
    values = np.append(np.random.default_rng(0).random(ends[-1]), 0.0)
    expected = [sum(values[end - length : end]) for end, length in zip(ends, lengths, strict=True)]
    np.testing.assert_allclose(segment_sums(values, ends - lengths, ends), expected, atol=1e-12)
