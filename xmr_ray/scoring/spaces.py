"""The spaces in which retrieval is measured, as pairs of columns that scoring writes."""

import numpy as np

from xmr_ray.types import Floats

SPACES = ("overlap", "prob", "feature", "concat")


def space_of(towers: dict[str, Floats], space: str) -> tuple[Floats, Floats]:
    """Image and text rows (N, D) of a space, each row of length 1.

    Products of an image row and a text row rank a gallery. `feature`: cosine of embeddings; `prob`: cosine of class probabilities;
    `concat`: the mean of both; `overlap`: the inner product of class probabilities, which is the expected number of labels that the pair
    shares if labels are independent (divided by the number of classes). A cosine forgets how sure a tower is of its labels; this does not.
    """
    if space == "overlap":
        return _completed(towers["image_probability"], own=0), _completed(towers["text_probability"], own=1)
    image, text = (_rows(towers, side, space) for side in ("image", "text"))
    return image, text


def _completed(prob_NC: Floats, *, own: int) -> Floats:
    """Rows of length 1 whose products between sides are those of `prob_NC`: each side is completed in a dimension of its own."""
    scaled_NC = prob_NC / np.float32(np.sqrt(prob_NC.shape[1]))
    missing_N = np.sqrt(np.maximum(1.0 - np.square(scaled_NC).sum(axis=1), 0.0))
    completed_N2 = np.zeros((len(prob_NC), 2), np.float32)
    completed_N2[:, own] = missing_N
    return np.concatenate([scaled_NC, completed_N2], axis=1, dtype=np.float32)


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
