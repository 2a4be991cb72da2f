import numpy as np
import pytest
import torch

from xmr_ray.encoders.sentence_transformers import SentenceTransformers
from xmr_ray.errors import ConfigError


class Model:
    """Length of a text and 1, in half precision."""

    def __init__(self, name, *, device):
        self.name, self.device = name, device

    def encode(self, texts, *, batch_size, normalize_embeddings, convert_to_tensor, show_progress_bar):
        assert convert_to_tensor
        assert not show_progress_bar
        assert batch_size == len(texts)
        made = torch.tensor([[float(len(text)), 1.0] for text in texts], dtype=torch.float16)
        return torch.nn.functional.normalize(made, dim=1) if normalize_embeddings else made


def test_rows_have_length_one(library):
    library("sentence_transformers", SentenceTransformer=Model)
    built = SentenceTransformers(model="some/folder").build(torch.device("cpu"), None)
    assert (built.model.name, built.model.device, built.dim) == ("some/folder", "cpu", 2)
    found = built.encode(["", "abc"])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [[0, 1], [0.9**0.5, 0.1**0.5]], atol=1e-3)


def test_a_missing_library_names_the_command(no_library):
    no_library("sentence_transformers")
    with pytest.raises(ConfigError, match=r"pip install 'xmr-ray\[sentence-transformers\]'"):
        SentenceTransformers().build(torch.device("cpu"))
