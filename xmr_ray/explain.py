"""What is wrong with a configuration, in words: the full path, and the nearest names that are known there."""

import difflib
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ValidationError


def explain(error: ValidationError, root: type[BaseModel]) -> str:
    """Everything that a model refused, one clause each."""
    return "; ".join(_explain(item, root) for item in error.errors())


def _explain(item: Any, root: type[BaseModel]) -> str:
    path = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        known = _known_names(item["loc"][:-1], root)
        near = difflib.get_close_matches(str(item["loc"][-1]), known, n=3)
        return f"unknown key {path!r}" + (f", did you mean {' or '.join(near)}?" if near else f"; known here: {', '.join(sorted(known))}")
    return f"{path} is {item.get('input')!r}: {item['msg']}"


def _known_names(loc: Sequence[int | str], root: type[BaseModel]) -> list[str]:
    names: dict[str, type[BaseModel]] = {model.__name__: model for model in _models(root)}
    model: type[BaseModel] | None = root
    for part in loc:
        annotation = model.model_fields[str(part)].annotation if model and str(part) in model.model_fields else None
        inside = _inside(annotation)
        tagged = [found for found in names.values() if "kind" in found.model_fields and found.model_fields["kind"].default == part]
        model = inside[0] if len(inside) == 1 else (tagged[0] if tagged else None)
    return list(model.model_fields) if model else []


def _models(root: type[BaseModel]) -> set[type[BaseModel]]:
    found = {root}
    for info in root.model_fields.values():
        for model in _inside(info.annotation):
            found |= _models(model) if model not in found else set()
    return found


def _inside(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in getattr(annotation, "__args__", ()) for model in _inside(argument)]
