"""A component: one frozen pydantic model with a `kind`, which is both its configuration and the object that works."""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """A frozen group of settings; unknown keys are refused.

    >>> class Limits(Settings):
    ...     rows: int = 3
    >>> Limits(rows=4).rows
    4
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class Component(Settings):
    """Settings that also do the work; the concrete class narrows `kind` to a literal.

    The tagged union in a folder's `__init__.py` is the registry: `kind` picks the class when a configuration is loaded.
    """

    kind: str
