import numpy as np
import pyarrow as pa
import pytest

from xmr_ray import storage
from xmr_ray.cluster.predictions import newest_predictions, predicted_labels
from xmr_ray.corpus.columns import feature_array, feature_field
from xmr_ray.runs.directory import RunDirectory
from xmr_ray.scoring.outputs import file_of


def write(corpus, place, version):
    """Random probabilities in every predictions file, by pair."""
    rng, found = np.random.default_rng(0), {}
    for descriptor in corpus.descriptors("train"):
        ids = corpus.read_ids(descriptor)
        values = rng.random((len(ids), corpus.schema.num_classes), dtype=np.float32)
        schema = pa.schema([pa.field("pair_id", pa.int64()), feature_field("probability", "f32", values.shape[1])], metadata={"version": version})
        storage.write_table(file_of(place.path, "predictions", descriptor), pa.Table.from_arrays([ids, feature_array(values, "f32")], schema=schema))
        found |= dict(zip(ids.tolist(), values, strict=True))
    return found


@pytest.fixture
def directory(tmp_path):
    directory = RunDirectory(str(tmp_path))
    for index in range(3):
        storage.write_whole(directory.round(index).networks, f"networks {index}".encode())
    return directory


@pytest.mark.parametrize("multi_label", [True, False])
def test_predicted_are_classes_above_a_half_or_the_likeliest_one(tiny_corpus, tiny_single, directory, multi_label):
    corpus = tiny_corpus if multi_label else tiny_single
    probabilities = write(corpus, directory.round(0), "any")
    names = corpus.schema.class_names
    found = dict(predicted_labels(corpus, directory.round(0)))
    assert set(found) == set(corpus.pair_ids("train").tolist())
    for pair_id, row in probabilities.items():
        likely = [c for c in range(5) if row[c] >= 0.5] if multi_label else [int(np.argmax(row))]
        expected = sorted(likely, key=lambda c, row=row: -row[c])
        assert list(found[pair_id].items()) == [(names[c], pytest.approx(row[c])) for c in expected]
    wanted = corpus.pair_ids("train")[[5, 400]]
    assert dict(predicted_labels(corpus, directory.round(0), wanted)) == {int(i): found[int(i)] for i in wanted}


def test_the_newest_whole_and_current_predictions_are_taken(tiny_corpus, directory):
    assert newest_predictions(tiny_corpus, directory) is None
    for index in range(3):
        write(tiny_corpus, directory.round(index), storage.digest_file(directory.round(index).networks))
    assert newest_predictions(tiny_corpus, directory).index == 2
    storage.remove_file(file_of(directory.round(2).path, "predictions", tiny_corpus.descriptors("train")[1]))
    assert newest_predictions(tiny_corpus, directory).index == 1
    storage.write_whole(directory.round(1).networks, b"trained again")
    assert newest_predictions(tiny_corpus, directory).index == 0
