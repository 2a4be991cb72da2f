import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from threadpoolctl import threadpool_limits

from xmr_ray.readers.synthetic import CHUNK_ROWS, SyntheticReader

READER = SyntheticReader(num_train=2500, num_validation=100, num_test=600, image_dim=40, text_dim=20, num_classes=6, seed=4)


def gathered(reader, split):
    parts = [records for found, records in reader.read().shards() if found == split]
    return (
        np.concatenate([records.pair_ids for records in parts]),
        np.concatenate([records.image for records in parts]),
        np.concatenate([records.text for records in parts]),
        [labels for records in parts for labels in records.labels],
    )


def dense(labels, num_classes):
    found = np.zeros((len(labels), num_classes))
    for i, classes in enumerate(labels):
        found[i, classes] = 1
    return found


def test_number_of_pairs_is_as_asked():
    counts = {}
    for split, records in READER.read().shards():
        counts[split] = counts.get(split, 0) + len(records)
        assert len(records) <= CHUNK_ROWS
    assert counts == {"train": 2500, "validation": 100, "test": 600}


@settings(max_examples=10, deadline=None)
@given(num_train=st.integers(1, 2200), seed=st.integers(0, 3))
def test_a_longer_stream_starts_with_the_shorter_one(num_train, seed):
    base = {"num_validation": 0, "num_test": 0, "image_dim": 5, "text_dim": 4, "seed": seed}
    short = gathered(SyntheticReader(num_train=num_train, **base), "train")
    long = gathered(SyntheticReader(num_train=2200, **base), "train")
    for one, other in zip(short, long, strict=True):
        assert np.array_equal(one, other[:num_train]) if isinstance(one, np.ndarray) else one == other[:num_train]


def test_chunks_may_be_drawn_in_any_order():
    second = READER.records("train", 1)
    assert np.array_equal(gathered(READER, "train")[1][CHUNK_ROWS : 2 * CHUNK_ROWS], second.image)


def test_ids_are_distinct_ascending_and_no_positions():
    ids = np.concatenate([gathered(READER, split)[0] for split in ("train", "validation", "test")])
    assert (np.diff(ids) > 0).all()
    assert len(set(np.diff(ids).tolist())) > 5


def test_another_seed_gives_other_pairs():
    assert not np.array_equal(READER.records("train", 0).image, READER.model_copy(update={"seed": 5}).records("train", 0).image)


def test_clumps_are_near_duplicates_and_the_rest_is_not():
    known, records = READER.latents("train", 0), READER.records("train", 0)
    share = (known.clumps_B >= 0).mean()
    assert abs(share - READER.clump_share) < 4 * np.sqrt(0.2 * 0.8 / CHUNK_ROWS)
    rng = np.random.default_rng(0)
    loose = records.image[known.clumps_B < 0]
    apart = np.median(np.linalg.norm(loose[rng.integers(len(loose), size=500)] - loose[rng.integers(len(loose), size=500)], axis=1))
    for clump in range(5):
        for view in (records.image, records.text):
            members = view[known.clumps_B == clump]
            assert np.linalg.norm(members - members.mean(axis=0), axis=1).max() < 0.2 * apart


@pytest.mark.parametrize("multi_label", [True, False])
def test_labels_can_be_learned_from_either_view(multi_label):
    reader = READER.model_copy(update={"multi_label": multi_label, "clump_share": 0.0})
    _, image, text, labels = gathered(reader, "train")
    _, test_image, test_text, test_labels = gathered(reader, "test")
    truth = dense(test_labels, 6)
    for train, test in ((image, test_image), (text, test_text)):
        best = Ridge(10.0).fit(train, dense(labels, 6)).predict(test).argmax(axis=1)
        assert truth[np.arange(len(truth)), best].mean() > 1.8 * truth.mean()


def test_single_label_is_the_farthest_reaching_class():
    reader = READER.model_copy(update={"multi_label": False})
    assert (reader.latents("train", 0).labels_BC.sum(axis=1) == 1).all()
    assert reader.read().schema.multi_label is False


def test_labels_per_pair_is_about_what_was_asked():
    reader = SyntheticReader(num_train=8000, num_classes=40, labels_per_pair=3.0, clump_share=0.0, latent_dim=24)
    labels = gathered(reader, "train")[3]
    # at least one label each lifts the mean a little above what was asked
    assert 2.8 < np.mean([len(row) for row in labels]) < 3.4


def test_latents_agree_with_records():
    known, records = READER.latents("validation", 0), READER.records("validation", 0)
    assert np.array_equal(known.pair_ids_B, records.pair_ids)
    assert [np.flatnonzero(row).tolist() for row in known.labels_BC] == records.labels


def test_the_number_of_threads_changes_no_bit():
    reader = SyntheticReader(num_train=1024, num_validation=0, num_test=0, image_dim=512, text_dim=300, latent_dim=64)
    found = []
    for limit in (1, 2, 8):
        with threadpool_limits(limits=limit):
            records = next(reader.read().shards())[1]
            found.append((records.image.tobytes(), records.text.tobytes(), records.labels))
    assert found[0] == found[1] == found[2]
