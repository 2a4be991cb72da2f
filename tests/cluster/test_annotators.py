import numpy as np
import pytest

from xmr_ray import storage
from xmr_ray.cluster.annotators import Questioner, annotator_of
from xmr_ray.cluster.predictions import predicted_labels
from xmr_ray.config import validate
from xmr_ray.labels.annotators import Oracle
from xmr_ray.labels.files import FilesAnnotator
from xmr_ray.loop.sharing import Others, Sharing
from xmr_ray.runs.directory import RunDirectory
from xmr_ray.types import Selection


def test_the_settings_say_who_answers(tiny_corpus, tmp_path):
    directory = RunDirectory(str(tmp_path))
    built = [
        annotator_of(validate({"annotator": {"kind": kind}}, where="test"), tiny_corpus, directory, campaign="c", others=Others())
        for kind in ("oracle", "files")
    ]
    assert [type(one) for one in built] == [Oracle, Sharing]
    assert isinstance(built[1]._people, FilesAnnotator)


@pytest.fixture
def captioned(tmp_path):
    """Twelve train pairs with captions, URIs and thumbnails (one lacks them all), without truth, and no test split."""
    from xmr_ray.corpus.schema import CorpusSchema, PairRecords
    from xmr_ray.corpus.source import Source
    from xmr_ray.readers.ingest import ingest

    names = ("a", "b", "c", "d", "e")
    schema = CorpusSchema(image_dim=24, text_dim=16, class_names=names, has_captions=True, has_uris=True, has_thumbnails=True)
    rng = np.random.default_rng(0)
    captions = [None if i == 3 else f"text {i}" for i in range(12)]
    uris = [None if i == 3 else f"/data/{i}.jpg" for i in range(12)]
    thumbnails = [None if i == 3 else bytes([i]) for i in range(12)]
    features = rng.normal(size=(12, 24)), rng.normal(size=(12, 16))
    records = PairRecords(np.arange(12), *features, captions=captions, uris=uris, thumbnails=thumbnails)
    return ingest(Source.of(schema, [("train", records)]), str(tmp_path / "corpus"), row_group_rows=4)


def test_a_question_shows_the_pair_and_why_it_was_chosen(captioned, tmp_path):
    selection = Selection(np.array([7, 3]), np.array([0.9, np.nan]), {"entropy": np.array([1.5, 0.5])})
    first, second = Questioner(captioned, RunDirectory(str(tmp_path / "run")))(selection)
    assert (first.pair_id, first.text, first.uri, first.thumbnail) == (7, "text 7", "/data/7.jpg", b"\x07")
    assert first.reasons == {"utility": 0.9, "entropy": 1.5}
    assert first.suggested == {}, "there are no predictions yet"
    assert (second.pair_id, second.text, second.reasons) == (3, None, {"entropy": 0.5})


def test_suggestions_are_what_the_newest_networks_on_disk_predict(captioned, raw_networks, tmp_path):
    from xmr_ray.cluster.score import ScoringActor, ScoringJob
    from xmr_ray.types import TrainedNetworks

    directory = RunDirectory(str(tmp_path / "run"))
    place = directory.round(0)
    storage.write_whole(place.networks, storage.read_bytes(raw_networks.path))
    networks = TrainedNetworks(place.networks, raw_networks.digest)
    num = len(captioned.descriptors("train"))
    ScoringActor(ScoringJob(captioned.path, "train", networks, place.path, 64, "f16", 1, use_gpu=False))({"index": np.arange(num)})
    questions = Questioner(captioned, directory)(Selection(np.array([7, 3, 11]), np.zeros(3)))
    expected = dict(predicted_labels(captioned, place))
    assert [question.suggested for question in questions] == [expected[7], expected[3], expected[11]]
    assert any(question.suggested for question in questions)
    storage.write_whole(directory.round(1).networks, b"newer networks, which have predicted nothing")
    assert Questioner(captioned, directory)(Selection(np.array([7]), np.zeros(1)))[0].suggested == expected[7]
