"""The spaces in which retrieval is measured, as pairs of columns that scoring writes."""

import numpy as np

from xmr_ray.types import Floats

SPACES = ("prob", "feature", "concat")


def space_of(towers: dict[str, Floats], space: str) -> tuple[Floats, Floats]:
    """Image and text rows (N, D) of a space, each row of length 1.

    `feature`: the unit embeddings; `prob`: class probabilities; `concat`: both, side by side, with equal weight ([method C], A2.5).
    """
    image, text = (_rows(towers, side, space) for side in ("image", "text"))
    return image, text


def _rows(towers: dict[str, Floats], side: str, space: str) -> Floats:
    feature_ND, prob_NC = towers[f"{side}_embedding"], towers[f"{side}_probability"]
    if space == "feature":
        return _unit(feature_ND)
    if space == "prob":
        return _unit(prob_NC)
    return _unit(np.concatenate([_unit(prob_NC), _unit(feature_ND)], axis=1))


def _unit(rows_ND: Floats) -> Floats:
    lengths_N1 = np.linalg.norm(rows_ND, axis=1, keepdims=True)
    unit_ND: Floats = rows_ND / np.maximum(lengths_N1, np.finfo(np.float32).tiny)
    return unit_ND
