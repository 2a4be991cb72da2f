import threading
import time

import numpy as np
import pytest
import torch
from PIL import Image

from xmr_ray.corpus.raw import RawRecords, RawSchema, Reject
from xmr_ray.encoders import TagBow, Tfidf, Timm
from xmr_ray.encoders.efficientnet_lite import EfficientnetLite
from xmr_ray.encoders.embed import EmbedSettings, PairEncoder, corpus_schema
from xmr_ray.encoders.image_network import ImageNetwork
from xmr_ray.encoders.images import decode
from xmr_ray.errors import ConfigError, CorpusError, ResourceError

TEXT = TagBow()
STATE = TEXT.fit(["red green blue"])  # columns blue, green, red


def prepare(image):
    return torch.from_numpy(np.array(image.resize((2, 2)))).permute(2, 0, 1).float()


def mean_colours(pixels_BCHW):
    return pixels_BCHW.mean(dim=(2, 3))


@pytest.fixture
def build(monkeypatch):
    """A pair encoder whose image network is a function: mean colours unless told otherwise."""

    def make(network=mean_colours, *, prepare=prepare, **settings):
        monkeypatch.setattr(EfficientnetLite, "build", lambda self, device: ImageNetwork(3, device, prepare, network))
        return PairEncoder(EmbedSettings(text=TEXT, **settings), state=STATE, device="cpu")

    return make


@pytest.fixture
def coloured(encoded):
    """That many pairs whose picture has the colour (row, 2 row, 3 row)."""

    def make(num_rows, **fields):
        images = [encoded(Image.new("RGB", (5, 4), (i, 2 * i, 3 * i))) for i in range(num_rows)]
        rows = {"texts": ["red"] * num_rows, "uris": [None] * num_rows, "images": images, "labels": None, **fields}
        return RawRecords(np.arange(100, 100 + num_rows), **rows)

    return make


def test_every_field_of_every_pair_arrives_in_order(build, coloured, encoded, tmp_path):
    (tmp_path / "a.png").write_bytes(encoded(Image.new("RGB", (200, 100), (200, 0, 0))))
    uris = [None, str(tmp_path / "a.png"), "somewhere/else.png"]
    raw = coloured(3, texts=["red", "", "blue green"], uris=uris, labels=[[1], [], [0, 2]])
    raw = RawRecords(raw.pair_ids, raw.texts, raw.uris, [raw.images[0], None, raw.images[2]], raw.labels)
    encoder = build()
    assert (encoder.image_dim, encoder.text_dim) == (3, 3)
    found = encoder.encode(raw)
    assert found.rejects == ()
    records = found.records
    assert records.pair_ids.tolist() == [100, 101, 102]
    assert records.image.tolist() == [[0, 0, 0], [200, 0, 0], [2, 4, 6]]  # bytes count before the URI
    assert records.text.tolist() == [[0, 0, 1], [0, 0, 0], [1, 1, 0]]
    assert (records.image.dtype, records.text.dtype) == (np.float32, np.float32)
    assert (records.labels, records.captions, records.uris) == ([[1], [], [0, 2]], ["red", "", "blue green"], uris)
    assert [decode(data, max_pixels=10_000).size for data in records.thumbnails] == [(5, 4), (72, 36), (5, 4)]


@pytest.mark.parametrize("batch_size", [1, 2, 7, 64])
def test_batches_change_nothing(build, coloured, batch_size):
    found = build(batch_size=batch_size, thumbnail=0).encode(coloured(7)).records
    assert found.image.tolist() == [[i, 2 * i, 3 * i] for i in range(7)]
    assert found.thumbnails is None


def test_rejects_name_pair_place_and_reason(build, coloured, tmp_path):
    (tmp_path / "text.jpg").write_text("not a picture")
    missing = str(tmp_path / "missing.jpg")
    raw = coloured(6, uris=["archive#0", str(tmp_path / "text.jpg"), missing, None, None, None], labels=[[0]] * 6)
    images = [raw.images[0][:40], None, None, None, raw.images[4], b""]
    found = build(batch_size=2).encode(RawRecords(raw.pair_ids, raw.texts, raw.uris, images, raw.labels))
    assert found.records.pair_ids.tolist() == [104]
    assert found.records.image.tolist() == [[4, 8, 12]]
    assert len(found.records.text) == len(found.records.labels) == len(found.records.captions) == len(found.records.thumbnails) == 1
    assert [(reject.pair_id, reject.uri) for reject in found.rejects] == list(zip([100, 101, 102, 103, 105], [*raw.uris[:4], None], strict=True))
    for reject, reason in zip(found.rejects, ["PNG that cannot", "known kind", f"{missing}: cannot be read", "neither", "zero bytes"], strict=True):
        assert isinstance(reject, Reject)
        assert reason in reject.reason


def test_max_pixels_is_passed_on(build, coloured):
    assert [reject.reason for reject in build(max_pixels=19).encode(coloured(1)).rejects] == ["PNG of 5 x 4 pixels, allowed are 1 to 19 (max_pixels)"]


def test_nothing_left_is_an_empty_batch(build, coloured):
    for raw in (coloured(0), coloured(2, images=[b"", b""])):
        records = build().encode(raw).records
        assert len(records) == 0
        assert (records.image.shape, records.text.shape) == ((0, 3), (0, 3))


def test_a_batch_that_does_not_fit_is_halved_and_stays_halved(build, coloured):
    sizes = []

    def small_device(pixels_BCHW):
        sizes.append(len(pixels_BCHW))
        if len(pixels_BCHW) > 3:
            raise torch.OutOfMemoryError("out of memory")
        return mean_colours(pixels_BCHW)

    found = build(small_device, batch_size=8).encode(coloured(16)).records
    assert found.image.tolist() == [[i, 2 * i, 3 * i] for i in range(16)]
    assert sizes == [8, 4, 2, 2, 2, 2, 2, 2, 2, 2]


def test_a_single_pair_that_does_not_fit_is_an_error(build, coloured):
    def full_device(pixels_BCHW):
        raise torch.OutOfMemoryError("out of memory")

    with pytest.raises(ResourceError, match="embed: one single pair does not fit the memory of cpu"):
        build(full_device, batch_size=4).encode(coloured(3))


def test_features_that_are_not_finite_name_their_pair(build, coloured):
    with pytest.raises(CorpusError, match="pair_id 102: the image encoder gave NaN or infinity"):
        build(lambda pixels_BCHW: 1 / (mean_colours(pixels_BCHW) - 2 * torch.tensor([1, 2, 3]))).encode(coloured(4))


def test_the_next_batch_is_decoded_while_the_model_works(build, coloured):
    prepared, second_batch = [], threading.Event()

    def noted(image):
        assert threading.current_thread() is not threading.main_thread()
        prepared.append(image)
        if len(prepared) == 4:
            second_batch.set()
        return prepare(image)

    def network(pixels_BCHW):
        assert second_batch.wait(timeout=20)  # never set if decoding waited for the model
        time.sleep(0.05)
        assert len(prepared) <= 2 * (len(pixels_BCHW) + len(done))  # and not more than one batch ahead
        done.extend(pixels_BCHW)
        return mean_colours(pixels_BCHW)

    done = []
    assert len(build(network, prepare=noted, batch_size=2).encode(coloured(8)).records) == 8


def test_an_error_in_the_preparation_is_not_swallowed(build, coloured):
    def faulty(image):
        raise ZeroDivisionError("our own mistake")

    with pytest.raises(ZeroDivisionError):
        build(prepare=faulty).encode(coloured(2))


def test_reduced_precision_is_refused_on_the_cpu(build):
    with pytest.raises(ConfigError, match="bf16 on a GPU only"):
        build(precision="bf16")


def test_the_schema_says_what_the_corpus_will_hold():
    raw = RawSchema(class_names=("a", "b"), multi_label=False, has_labels=True, source="somewhere", reader="r1")
    schema = corpus_schema(raw, EmbedSettings(dtype="f32", thumbnail=0), image_dim=5, text_dim=7, has_uris=False)
    assert (schema.image_dim, schema.text_dim, schema.image_dtype, schema.text_dtype) == (5, 7, "f32", "f32")
    assert (schema.class_names, schema.multi_label, schema.source) == (("a", "b"), False, "somewhere")
    assert (schema.has_captions, schema.has_uris, schema.has_thumbnails) == (True, False, False)
    assert corpus_schema(raw, EmbedSettings(), image_dim=5, text_dim=7).has_thumbnails


def test_the_fingerprint_covers_what_changes_results_and_nothing_else():
    def reader(raw="r1", **settings):
        return corpus_schema(RawSchema(reader=raw), EmbedSettings(**settings), image_dim=5, text_dim=7).reader

    assert reader(batch_size=3, decode_threads=9, max_rejects=5) == reader()
    changes = [{"image": {"kind": "timm"}}, {"text": Tfidf()}, {"text": Tfidf(min_df=2)}, {"dtype": "f32"}, {"precision": "f32"}]
    changes += [{"thumbnail": 0}, {"max_pixels": 5}, {"raw": "r2"}]
    assert len({reader(), *(reader(**change) for change in changes)}) == 1 + len(changes)


def test_the_fingerprint_covers_what_local_weights_hold(tmp_path):
    def reader():
        settings = EmbedSettings(image=Timm(checkpoint=str(tmp_path / "w.pt")))
        return corpus_schema(RawSchema(reader="r"), settings, image_dim=5, text_dim=7).reader

    (tmp_path / "w.pt").write_bytes(b"one")
    first = reader()
    assert first == reader()
    (tmp_path / "w.pt").write_bytes(b"two")
    assert reader() != first
