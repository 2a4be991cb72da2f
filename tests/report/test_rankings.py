import numpy as np
import pytest

from xmr_ray.corpus.schema import Item
from xmr_ray.report.rankings import Ranking, can_rank, chance_level, gallery_files, query_order, rank_examples, view_example
from xmr_ray.runs.directory import RoundDirectory
from xmr_ray.types import LabelSet

IDS = np.arange(1000, 1050)[::-1].copy()


@pytest.fixture
def place(tmp_path):
    return RoundDirectory(str(tmp_path), 0)


def slow_ranking(matrices, space, direction, query, num):
    def unit(row):
        return row / np.sqrt((row.astype(np.float64) ** 2).sum())

    def vector(side, at):
        prob, embedding = unit(matrices[f"{side}_probability"][at]), unit(matrices[f"{side}_embedding"][at])
        return {"prob": prob, "feature": embedding, "concat": np.concatenate([prob, embedding]) / np.sqrt(2)}[space]

    query_side, gallery_side = ("image", "text") if direction == "i2t" else ("text", "image")
    at = IDS.tolist().index(query)
    cosines = [(-float(vector(query_side, at) @ vector(gallery_side, row)), int(pair_id)) for row, pair_id in enumerate(IDS)]
    return [(pair_id, -cosine) for cosine, pair_id in sorted(cosines)[:num]]


@pytest.mark.parametrize("space", ["prob", "feature", "concat"])
@pytest.mark.parametrize("direction", ["i2t", "t2i"])
def test_equal_to_a_slow_ranking(place, make, space, direction):
    matrices = make.matrices(len(IDS))
    make.embeddings(place, IDS, matrices)
    files = gallery_files(place)
    assert len(files) == 4
    rankings = rank_examples(files, space=space, direction=direction, num_queries=5, num_retrieved=7)
    assert [ranking.query for ranking in rankings] == query_order(IDS)[:5].tolist()
    for ranking in rankings:
        expected = slow_ranking(matrices, space, direction, ranking.query, 7)
        assert ranking.retrieved_K.tolist() == [pair_id for pair_id, _ in expected]
        assert ranking.similarity_K.tolist() == pytest.approx([cosine for _, cosine in expected], abs=1e-6)


@pytest.mark.parametrize("dtype", ["f16", "bf16"])
def test_narrow_storage_is_read(place, make, dtype):
    matrices = {name: np.eye(len(IDS), 60, dtype=np.float32) for name in make.matrices(1)}
    make.embeddings(place, IDS, matrices, dtype=dtype)
    for ranking in rank_examples(gallery_files(place), space="feature", direction="i2t", num_queries=3, num_retrieved=2):
        assert ranking.retrieved_K[0] == ranking.query
        assert ranking.similarity_K.tolist() == pytest.approx([1.0, 0.0])


def test_queries_do_not_depend_on_results_or_order(place, make, tmp_path):
    other = RoundDirectory(str(tmp_path / "other"), 0)
    make.embeddings(place, IDS, make.matrices(len(IDS), seed=1))
    make.embeddings(other, np.sort(IDS), make.matrices(len(IDS), seed=2), rows_per_file=50)
    first, second = (rank_examples(gallery_files(where), space="prob", direction="t2i", num_queries=4, num_retrieved=1) for where in (place, other))
    assert [ranking.query for ranking in first] == [ranking.query for ranking in second]


def test_equal_cosines_are_ordered_by_id_across_files(place, make):
    matrices = {name: np.ones((len(IDS), 3), np.float32) for name in make.matrices(1)}
    make.embeddings(place, IDS, matrices)
    (ranking,) = rank_examples(gallery_files(place), space="prob", direction="i2t", num_queries=1, num_retrieved=3)
    assert ranking.retrieved_K.tolist() == [1000, 1001, 1002]


def test_dropped_embeddings_leave_no_files(place):
    assert gallery_files(place) == []
    assert can_rank("concat")
    assert not can_rank("galaxy")


def test_relevance_is_a_shared_label():
    labels = {1: ("cat", "tool"), 2: ("tool",), 3: ("dog",)}
    example = view_example(Ranking(1, np.array([2, 3, 1]), np.array([0.9, 0.8, 0.7], np.float32)), {2: Item("two", None, None)}, labels.get)
    assert [(item.relevant, item.shared, item.own) for item in example.retrieved] == [
        (True, ("tool",), False),
        (False, (), False),
        (True, ("cat", "tool"), True),
    ]
    assert (example.num_relevant, example.retrieved[0].card.title, example.retrieved[1].card.title) == (2, "two", "pair 3")


def test_relevance_is_unknown_without_labels():
    example = view_example(Ranking(1, np.array([2, 1]), np.array([0.9, 0.8], np.float32)), {}, {1: ("cat",)}.get)
    assert [item.relevant for item in example.retrieved] == [None, True]
    assert example.num_relevant is None


def test_chance_is_the_share_of_relevant_pairs():
    rng = np.random.default_rng(3)
    rows = [sorted(set(rng.integers(0, 6, 2).tolist())) for _ in range(40)]
    expected = np.mean([[bool(set(a) & set(b)) for b in rows] for a in rows])
    assert chance_level(LabelSet.of(range(40), rows)) == pytest.approx(expected)
