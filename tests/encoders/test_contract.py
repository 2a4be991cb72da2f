"""What holds for every encoder in the unions, with the libraries themselves; those that are missing are skipped with the reason."""

import pickle
from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import TypeAdapter, ValidationError

from xmr_ray.encoders import ImageEncoder, TextEncoder
from xmr_ray.encoders.encoder import Built
from xmr_ray.errors import ConfigError

CPU = torch.device("cpu")
TEXTS = ["a red bus in the street", "two dogs, one ball", "", "a red ball ☂ " * 40]
DOWNLOADED = {"open_clip", "timm", "torchvision", "sentence_transformers"}  # their weights are fetched when they are built
IMAGE_KINDS = [kind() for kind in get_args(get_args(ImageEncoder)[0])]
TEXT_KINDS = [kind() for kind in get_args(get_args(TextEncoder)[0])]


def of_kind(encoder):
    return encoder.kind


def built(encoder):
    if encoder.kind in DOWNLOADED:
        pytest.skip(f"{encoder.kind}: weights are downloaded; its own file tests it with a stand-in")
    try:
        return encoder.build(CPU) if encoder in IMAGE_KINDS else encoder.build(CPU, encoder.fit(TEXTS))
    except ConfigError as error:
        if "pip install 'xmr-ray[" not in str(error):
            raise
        pytest.skip(str(error))


def check_rows(encoder, rows):
    """Rows of the announced width, finite, the same alone and together, each time."""
    assert isinstance(encoder, Built)
    features_BD = encoder.encode(rows)
    assert features_BD.shape == (len(rows), encoder.dim)
    assert features_BD.dtype == np.float32
    assert np.isfinite(features_BD).all()
    np.testing.assert_array_equal(encoder.encode(rows), features_BD)
    np.testing.assert_allclose(np.concatenate([encoder.encode([row]) for row in rows]), features_BD, atol=1e-4)
    np.testing.assert_allclose(encoder.encode(rows[::-1])[::-1], features_BD, atol=1e-4)
    assert len(np.unique(features_BD.round(3), axis=0)) == len(rows)


@pytest.mark.parametrize("encoder", IMAGE_KINDS, ids=of_kind)
def test_pictures(encoder):
    model = built(encoder)
    noise = np.random.default_rng(0).integers(0, 256, (90, 60, 3), dtype=np.uint8)
    images = [Image.fromarray(noise), Image.new("RGB", (300, 200), (255, 0, 0)), Image.new("RGB", (2, 500))]
    check_rows(model, images)
    np.testing.assert_array_equal(model.forward([model.prepare(image) for image in images]), model.encode(images))


@pytest.mark.parametrize("encoder", TEXT_KINDS, ids=of_kind)
def test_texts(encoder):
    check_rows(built(encoder), TEXTS)


@pytest.mark.parametrize("encoder", TEXT_KINDS, ids=of_kind)
def test_the_same_texts_give_the_same_state(encoder):
    state = encoder.fit(iter(TEXTS))
    assert state is None or isinstance(state, bytes)
    assert encoder.fit(iter(TEXTS)) == state


@pytest.mark.parametrize("encoder", TEXT_KINDS, ids=of_kind)
def test_a_state_of_another_encoder_is_refused(encoder):
    foreign = None if encoder.fit(TEXTS) is not None else b"fitted by another"
    with pytest.raises(ConfigError, match=f"encoder '{encoder.kind}'"):
        encoder.build(CPU, foreign)


@pytest.mark.parametrize(("union", "encoder"), [(ImageEncoder, e) for e in IMAGE_KINDS] + [(TextEncoder, e) for e in TEXT_KINDS])
def test_settings_travel(union, encoder):
    adapter = TypeAdapter(union)
    assert adapter.validate_json(encoder.model_dump_json()) == encoder
    assert pickle.loads(pickle.dumps(encoder)) == encoder
    assert adapter.validate_python({"kind": encoder.kind}) == encoder
    with pytest.raises(ValidationError):
        adapter.validate_python({"kind": encoder.kind, "no_such_setting": 1})
