import numpy as np
import pytest
import torch
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from xmr_ray.encoders.tfidf import Tfidf, _count
from xmr_ray.errors import CorpusError

SENTENCE = "A dog, a cat & the Été über straße naïve don't x1 42 7 under_score RED red Red bus; bus"
WORDS = SENTENCE.split()


def make_texts(num_texts, seed=0):
    rng = np.random.default_rng(seed)
    weights = 1 / np.arange(1, len(WORDS) + 1)
    return [" ".join(rng.choice(WORDS, size=rng.integers(1, 12), p=weights / weights.sum())) for _ in range(num_texts)] + ["", "a x 7"]


def build(encoder, texts):
    return encoder.build(torch.device("cpu"), encoder.fit(iter(texts)))


@pytest.mark.parametrize("options", [{}, {"min_df": 5}, {"sublinear": True}])
def test_features_are_those_of_scikit_learn(options):
    texts = make_texts(200)
    sklearn = TfidfVectorizer(min_df=options.get("min_df", 1), sublinear_tf=options.get("sublinear", False)).fit(texts)
    built = build(Tfidf(**options), texts)
    assert list(built.columns) == sorted(sklearn.vocabulary_, key=sklearn.vocabulary_.get)
    unseen = [*make_texts(50, seed=1), "not one known wort"]
    features_BD = built.encode(unseen)
    assert features_BD.dtype == np.float32
    np.testing.assert_allclose(features_BD, sklearn.transform(unseen).toarray(), atol=1e-7)
    assert features_BD[-1].tolist() == [0] * built.dim


def test_the_most_frequent_terms_stay():
    texts = ["red red red bus", "bus dog", "cat dog", "ape"]  # red 3, bus 2, dog 2, ape 1, cat 1
    sklearn = TfidfVectorizer(max_features=3).fit(texts)
    built = build(Tfidf(max_terms=3), texts)
    assert list(built.columns) == ["bus", "dog", "red"] == sorted(sklearn.vocabulary_)
    np.testing.assert_allclose(built.encode(texts), sklearn.transform(texts).toarray(), atol=1e-7)


def test_reduction_is_truncated_svd():
    texts = make_texts(300)
    weighted = TfidfVectorizer().fit_transform(texts)
    svd = TruncatedSVD(4, random_state=3).fit(weighted)
    built = build(Tfidf(dim=4, seed=3), texts)
    assert built.dim == 4
    np.testing.assert_allclose(built.encode(texts), svd.transform(weighted), atol=1e-6)


def test_reduction_from_a_sample_is_seeded_and_keeps_nearly_as_much():
    texts = make_texts(600)
    encoder = Tfidf(dim=3, svd_rows=300)
    assert encoder.fit(iter(texts)) == encoder.fit(iter(texts))
    assert encoder.fit(iter(texts)) != Tfidf(dim=3, svd_rows=300, seed=1).fit(iter(texts))
    sampled, whole = (np.square(build(one, texts).encode(texts)).sum() for one in (encoder, Tfidf(dim=3)))
    assert 0.95 * whole < sampled <= whole * (1 + 1e-6)  # the first right singular vectors keep the most


def test_the_sample_is_drawn_from_everywhere():
    picked = np.concatenate([np.array(_count(map(str, range(100)), keep=10, seed=seed).sample, dtype=int) for seed in range(200)])
    assert 47 < picked.mean() < 52  # 49.5 with a standard error of 0.6
    assert len(np.unique(picked)) == 100


@pytest.mark.parametrize(("options", "texts"), [({}, ["", "a b c"]), ({"min_df": 3}, ["red", "red"]), ({"dim": 2}, ["red bus"])])
def test_too_few_terms_are_an_error(options, texts):
    with pytest.raises(CorpusError, match=r"tfidf: \d texts give \d terms .* needed: \d; check the reader's text column"):
        Tfidf(**options).fit(texts)
