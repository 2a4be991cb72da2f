"""The networks of one round in one file: architecture, dimensions and weights."""

import io
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError

from xmr_ray import storage
from xmr_ray.errors import CheckpointError, StorageError
from xmr_ray.networks import AnyCommonSpace, AnyHeads, AnyLabelPredictor, CommonSpace, GaussianHeads, LabelPredictor, NetworkDims

FORMAT_VERSION = 2


@dataclass(frozen=True)
class RoundNetworks:
    """Both stages of a round, and Gaussian heads on its common space if a strategy asked for them."""

    label_predictor: LabelPredictor
    common_space: CommonSpace
    heads: GaussianHeads | None = None

    def to(self, device: torch.device | str) -> "RoundNetworks":
        """Move all networks; returns itself."""
        for network in self._parts().values():
            network.to(device)
        return self

    def eval(self) -> "RoundNetworks":
        """Switch dropout off; returns itself."""
        for network in self._parts().values():
            network.eval()
        return self

    def _parts(self) -> dict[str, LabelPredictor | CommonSpace | GaussianHeads]:
        parts: dict[str, LabelPredictor | CommonSpace | GaussianHeads] = {"label_predictor": self.label_predictor, "common_space": self.common_space}
        if self.heads is not None:
            parts["heads"] = self.heads
        return parts

    def to_bytes(self) -> bytes:
        """The file that `load` reads."""
        content: dict[str, Any] = {"format": FORMAT_VERSION, "dims": self.label_predictor.dims.model_dump()}
        for name, network in self._parts().items():
            weights = {key: value.detach().cpu() for key, value in network.state_dict().items()}
            content[name] = {"config": network.config.model_dump(), "weights": weights}
        if self.heads is not None:
            content["heads"]["embedding_dim"] = self.heads.embedding_dim
        buffer = io.BytesIO()
        torch.save(content, buffer)
        return buffer.getvalue()

    def save(self, path: str) -> None:
        """Write one file whole or not at all; raises `StorageError`."""
        storage.write_whole(path, self.to_bytes())

    @classmethod
    def load(cls, path: str, device: torch.device | str = "cpu") -> "RoundNetworks":
        """Read networks back, in evaluation mode; only tensors and plain values are unpickled.

        Raises:
            CheckpointError: the file is missing, damaged, of another format, or its weights do not fit its architecture.
        """
        content = _read(path)
        try:
            dims = NetworkDims.model_validate(content["dims"])
            predictor = _restore(TypeAdapter(AnyLabelPredictor), content["label_predictor"], dims)
            space = _restore(TypeAdapter(AnyCommonSpace), content["common_space"], dims)
            heads = _restore(TypeAdapter(AnyHeads), content["heads"], content["heads"]["embedding_dim"]) if "heads" in content else None
        except (KeyError, TypeError, ValidationError, RuntimeError) as error:
            raise CheckpointError(f"{path}: weights and architecture do not fit ({error}); {_ADVICE}") from error
        return cls(predictor, space, heads).to(device).eval()


_ADVICE = "remove the file and use `xmr-ray train` to train this round's networks anew"


def _read(path: str) -> dict[str, Any]:
    try:
        content = torch.load(io.BytesIO(storage.read_bytes(path)), map_location="cpu", weights_only=True)
    except StorageError as error:
        raise CheckpointError(f"{path}: no networks can be read here ({error}); {_ADVICE}") from error
    except Exception as error:  # torch names no class for a damaged file: zip, pickle, end of file and runtime errors all occur
        raise CheckpointError(f"{path}: not a readable checkpoint ({type(error).__name__}: {error}); {_ADVICE}") from error
    found = content.get("format") if isinstance(content, dict) else type(content).__name__
    if found != FORMAT_VERSION:
        raise CheckpointError(f"{path}: holds format {found!r}, expected {FORMAT_VERSION}; {_ADVICE}")
    return content


def _restore(adapter: TypeAdapter[Any], part: dict[str, Any], dims: NetworkDims | int) -> Any:
    config = adapter.validate_python(part["config"])
    with torch.random.fork_rng(devices=[]):
        network = config.build(dims)
    network.load_state_dict(part["weights"])
    return network
