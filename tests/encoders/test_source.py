import pickle

import numpy as np
import pytest

from xmr_ray.corpus.parts import plan_parts, write_part
from xmr_ray.corpus.raw import RawRecords, RawSchema, Reject
from xmr_ray.corpus.raw_corpus import RawCorpus
from xmr_ray.corpus.sinks import RawSink, finish_raw
from xmr_ray.encoders import Pixels, TagBow
from xmr_ray.encoders.embed import EmbedSettings
from xmr_ray.encoders.source import EncodedRows, encoded_source

SETTINGS = EmbedSettings(image=Pixels(grid=2), text=TagBow(), thumbnail=0)
SCHEMA = RawSchema(class_names=("a", "b"), has_labels=True)


@pytest.fixture
def raw(tmp_path, picture, encoded):
    data = [encoded(picture.rotate(90 * i)) for i in range(6)]
    data[4] = b""
    records = RawRecords(np.arange(6), ["sea", "sky", "sea sky", "", "sea", "cat"], [None] * 6, data, [[i % 2] for i in range(6)])
    (part,) = plan_parts({"train": 6}, rows_per_file=10)
    root = str(tmp_path / "raw")
    report = write_part(root, part, [records], sink=RawSink(root, SCHEMA), version="v", row_group_rows=2)
    finish_raw(root, SCHEMA, [report])
    return RawCorpus.open(root)


def test_a_raw_corpus_becomes_a_source_of_features_with_its_rejects(raw):
    source = encoded_source(raw, SETTINGS, state=SETTINGS.text.fit(raw.texts("train")), use_gpu=False)
    assert (source.schema.image_dim, source.schema.text_dim, source.num_rows) == (12, 3, {"train": 6})
    found = list(source.read("train", 1, 6))
    rejects = [item for item in found if isinstance(item, Reject)]
    records = [item for item in found if not isinstance(item, Reject)]
    assert [(reject.pair_id, reject.reason) for reject in rejects] == [(4, "zero bytes")]
    assert [int(i) for batch in records for i in batch.pair_ids] == [1, 2, 3, 5]
    assert [labels for batch in records for labels in batch.labels] == [[1], [0], [1], [1]]
    assert np.concatenate([batch.text for batch in records]).sum(axis=1).tolist() == [1, 2, 0, 1]


def test_it_travels_without_its_networks_and_reads_the_same(raw):
    rows = EncodedRows(raw.path, SETTINGS, state=SETTINGS.text.fit(raw.texts("train")), use_gpu=False)
    assert rows.encoder is rows.encoder
    again = pickle.loads(pickle.dumps(rows))
    assert again.__dict__["_encoder"] is None
    for one, other in zip(rows("train", 0, 3), again("train", 0, 3), strict=True):
        np.testing.assert_array_equal(one.image, other.image)
