"""What is searched for, how, and by what it is judged."""

from typing import Annotated, Literal

from pydantic import Field

from xmr_ray.component import Settings
from xmr_ray.tuning.dimensions import AnyDimension

Path = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*$")]


class TuneSettings(Settings):
    """A search over settings of the configuration; a trial is a whole run with some of them changed, measured on the validation split."""

    space: dict[Path, AnyDimension] = Field(min_length=1, description="dotted path of a setting -> what it may be")
    objective: Literal["area", "labels_to_share", "pareto"] = Field(
        default="area",
        description="area under the validation curve, labels until `share` of full supervision is reached, or both labels spent and mAP",
    )
    share: float = Field(default=0.9, gt=0, le=1, description="labels_to_share: of the mAP that the default configuration has with every label")
    algorithm: Literal["optuna", "random", "grid"] = Field(default="optuna", description="who proposes configurations; optuna is an optional extra")
    scheduler: Literal["asha", "none"] = Field(default="asha", description="asha ends a trial between rounds that is not among the best so far")
    grace_rounds: int = Field(default=2, ge=1, description="rounds that every trial finishes, that of the seed pairs included")
    reduction_factor: int = Field(default=3, ge=2, description="one of so many is let on at each rung; rungs lie at grace_rounds times its powers")
    num_trials: int = Field(default=16, ge=1, description="trials, that of the default configuration included; a grid of fewer points has fewer")
    max_concurrent: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        default="auto", description="trials at once; auto takes as many as resources allow and keeps the number"
    )
    cpus_per_trial: float = Field(default=0.25, gt=0, description="CPUs reserved by a trial, beside its scoring actors; it trains with one thread")
    seed: int = Field(default=0, ge=0, description="of what is drawn; the runs have the first of `seeds`")
