"""Composition: one frozen model of an experiment, loaded from YAML with overrides.

Defaults live here and in the components; a file in `configs/` holds differences. `arms` and `seeds` expand into runs.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import Field, ValidationError, field_validator, model_validator
from yaml import YAMLError

from xmr_ray.component import Settings
from xmr_ray.encoders.embed import EmbedSettings
from xmr_ray.errors import ConfigError
from xmr_ray.explain import explain
from xmr_ray.labels.annotators import AnnotatorSettings, OracleSettings
from xmr_ray.labels.budget import Budget
from xmr_ray.readers import Reader
from xmr_ray.scoring.cells import CellSettings
from xmr_ray.scoring.density import DensitySettings
from xmr_ray.strategies import AnyStrategy, SeedStrategy
from xmr_ray.strategies.random import Random
from xmr_ray.strategies.typical import Typical
from xmr_ray.training.round import TrainingConfig
from xmr_ray.tuning.settings import TuneSettings

FULL = "full"
HELD_OUT = 0.2


class CorpusSettings(Settings):
    """Where the canonical corpus lies, and what it is made from by `xmr-ray ingest` and `xmr-ray embed`."""

    path: str = Field(default="embedded", description="'embedded' (Open Clip Art, inside the package), a folder, or a URI")
    reader: Reader | None = Field(default=None, description="outside dataset: `ingest` writes features to `path`, raw pairs to `raw_path`")
    raw_path: str | None = Field(default=None, description="where raw pairs lie before they are encoded; None is `path` with -raw at its end")
    encoders: EmbedSettings | None = Field(default=None, description="what `embed` turns images and texts into features with")
    rows_per_file: int = Field(default=65536, ge=1, description="pairs in one file of the corpus, the unit that is written, kept and redone")
    num_writers: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(default="auto", description="actors that write; auto takes one per CPU or GPU")
    cpus_per_writer: float = Field(default=0.5, gt=0, description="CPUs reserved by each of them")

    @model_validator(mode="after")
    def _two_places(self) -> Self:
        if self.raw.rstrip("/") == self.path.rstrip("/"):
            raise ValueError(f"raw_path is {self.raw_path!r}, where the corpus itself will lie; choose another folder")
        return self

    @property
    def raw(self) -> str:
        """Where raw pairs lie."""
        return self.raw_path or f"{self.path.rstrip('/')}-raw"


class TrainingSettings(TrainingConfig):
    """How both networks learn, and with how many processes."""

    num_workers: Annotated[int, Field(ge=0)] | Literal["auto"] = Field(
        default="auto", description="Train workers; 0 is local mode, auto decides and says so"
    )
    cpus_per_worker: float = Field(default=0.5, gt=0, description="CPUs reserved by each worker")
    threads_per_worker: int = Field(default=1, ge=1, description="torch threads; more pays only for wide networks on idle cores")
    resident_mb: int = Field(default=4096, ge=0, description="memory for one worker's share of features; beyond it they are streamed")


class ScoringSettings(CellSettings, DensitySettings):
    """How pool and test pairs run through the networks, and how the pool is divided into cells and its density found, where a strategy asks."""

    batch_size: int = Field(default=1024, ge=1, description="pairs in one forward pass")
    embedding_dtype: Literal["bf16", "f16", "f32"] = Field(default="f16", description="storage of pool embeddings; test embeddings are f32")
    num_actors: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(default="auto", description="scoring actors; auto takes one per CPU or GPU")
    cpus_per_actor: float = Field(default=0.5, gt=0, description="CPUs reserved by each actor")
    gpus_per_actor: float = Field(default=1.0, ge=0, description="GPUs reserved by each actor where resources.use_gpu holds")
    threads_per_actor: int = Field(default=1, ge=1, description="torch threads of each actor")


class EvaluationSettings(Settings):
    """Which pairs measure, which space the curves show (the others are reported beside it), and what measures where the split has no truth."""

    split: Literal["test", "validation"] = Field(default="test", description="pairs that measure; labels of validation pairs are counted as bought")
    space: Literal["overlap", "prob", "feature", "concat"] = Field(
        default="overlap",
        description="expected number of shared labels, cosine of class probabilities, cosine of embeddings, or the mean of both cosines",
    )
    held_out: float = Field(
        default=HELD_OUT,
        ge=0,
        lt=1,
        description="share of the bought pairs that is never trained on where that split has no truth; they are queries and gallery of mAP",
    )


class Resources(Settings):
    """What of the cluster may be used; none of it changes results."""

    address: str | None = Field(default=None, description="Ray address; else RAY_ADDRESS, else a session of our own")
    num_cpus: int | None = Field(default=None, ge=1, description="CPUs of a session of our own; None takes all cores")
    use_gpu: bool = Field(default=False, description="train and score on GPUs")
    object_store_mb: int = Field(default=500, ge=100, description="cap of the object store of a session of our own")
    no_progress_timeout_s: int = Field(default=600, ge=1, description="a stalled Ray Data pass fails after this long")
    max_failures: int = Field(default=2, ge=0, description="restarts of a Train worker group before the run fails")


class ReportSettings(Settings):
    """What the report page shows."""

    bought_per_round: int = Field(default=12, ge=0, description="bought pairs shown for each round")
    num_queries: int = Field(default=6, ge=0, description="retrieval examples in each direction")


class Experiment(Settings):
    """One experiment: a corpus, a budget, arms to compare, and how everything is done."""

    name: str = Field(default="experiment", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="folder below storage_path")
    storage_path: str = Field(default="runs", description="where run directories lie")
    corpus: CorpusSettings = CorpusSettings()
    annotator: AnnotatorSettings = OracleSettings()
    budget: Budget = Budget()
    seed_strategy: SeedStrategy = Typical()
    strategy: AnyStrategy = Random()
    arms: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$")], dict[str, Any]] = Field(
        default={}, description="name -> overrides of this configuration"
    )
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1, description="one run an arm and seed")
    full: bool = Field(default=False, description="train once on every label: the 100 % line")
    keep_rounds: int = Field(default=1, ge=1, description="rounds whose scores and embeddings are kept; receipts always are")
    training: TrainingSettings = TrainingSettings()
    scoring: ScoringSettings = ScoringSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    resources: Resources = Resources()
    report: ReportSettings = ReportSettings()
    tune: TuneSettings | None = Field(default=None, description="what `xmr-ray tune` searches for; other verbs do not look at it")

    @field_validator("arms")
    @classmethod
    def _not_full(cls, arms: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        if FULL in arms:
            raise ValueError("an arm cannot be called 'full', the name of full supervision; set full: true instead")
        return arms


_SHARED = ("name", "storage_path", "corpus", "seeds", "full", "arms", "resources", "report", "tune")
_EXCLUDED: Any = {
    **dict.fromkeys(("name", "storage_path", "corpus", "arms", "seeds", "full", "keep_rounds", "resources", "report", "tune"), True),
    "scoring": {
        *("batch_size", "num_actors", "cpus_per_actor", "gpus_per_actor", "threads_per_actor", "index_actors", "cpus_per_index_actor"),
    },
    "training": {"num_workers", "cpus_per_worker", "threads_per_worker", "resident_mb"},
}


class ArmRun(Settings):
    """One arm with one seed, and its own configuration."""

    arm: str
    seed: int
    experiment: Experiment

    @property
    def run_id(self) -> str:
        """Folder of the run below the experiment."""
        return f"{self.arm}-s{self.seed}"

    def purchases(self, num_pairs: int) -> list[int]:
        """Labels bought in each round; full supervision buys the whole train split at once. Raises `ConfigError` on a budget beyond it."""
        if self.arm == FULL:
            return [num_pairs]
        self.experiment.budget.check(num_pairs)
        return self.experiment.budget.purchases()

    def fingerprint(self, corpus_fingerprint: str) -> str:
        """Hash of what changes results: not resources, the report, or where things lie."""
        shown = self.experiment.model_dump(mode="json", exclude=_EXCLUDED)
        if shown["evaluation"]["held_out"] == HELD_OUT:  # runs that were begun before there was a choice go on
            del shown["evaluation"]["held_out"]
        if shown["evaluation"]["split"] == "test":
            del shown["evaluation"]["split"]
        targets = shown["training"]["targets"]
        if not targets["neighbours"]:  # as before there were any
            for name in ("neighbours", "neighbour_weight", "neighbour_sample"):
                del targets[name]
        if not targets["distil"]:  # as before the common space was fitted twice
            del targets["distil"]
        content = [shown, self.seed, self.arm == FULL, corpus_fingerprint]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def load(path: str, overrides: Sequence[str] = ()) -> Experiment:
    """An experiment from a YAML file and `key.sub=value` overrides.

    Raises:
        ConfigError: the file cannot be read, a key is unknown (with its full path and the nearest known names), or a value is wrong.
    """
    if not Path(path).is_file():
        raise ConfigError(f"{path}: no such configuration file; see configs/ for examples")
    try:
        merged = OmegaConf.merge(OmegaConf.load(path), OmegaConf.from_dotlist(_checked(overrides)))
        content = OmegaConf.to_container(merged, resolve=True)
    except (OmegaConfBaseException, YAMLError, ValueError, TypeError, OSError) as error:
        raise ConfigError(f"{path}: cannot be read as a configuration ({error})") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: holds a {type(content).__name__}, expected keys and values")
    return validate({str(key): value for key, value in content.items()}, where=path)


def validate(content: Mapping[str, Any], *, where: str) -> Experiment:
    """An experiment from plain values; arms are checked too. Raises `ConfigError`."""
    experiment = _checked_model(content, where=where)
    for arm in experiment.arms:
        _arm(experiment, arm, where=where)
    for path, dimension in experiment.tune.space.items() if experiment.tune else ():
        for value in dimension.ends():
            with_values(experiment, {path: value}, where=f"{where}: tune.space.{path}")
    return experiment


def with_values(experiment: Experiment, values: Mapping[str, Any], *, where: str) -> Experiment:
    """The configuration with other values at dotted paths, without arms and search.

    Raises:
        ConfigError: a path is no key of the configuration or one that trials share, or its value is refused.
    """
    for path in values:
        if path.partition(".")[0] in (*_SHARED, "annotator", "evaluation"):
            raise ConfigError(f"{where}: {path!r} is the same for all trials; search for what a run does, not for where or how it is measured")
    content = experiment.model_dump(mode="json", exclude={"arms", "tune"}, exclude_unset=True)
    return _checked_model(_merged(content, nested(values)), where=where)


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values at dotted paths as values inside each other.

    >>> nested({"budget.total": 9, "budget.seed_pairs": 3})
    {'budget': {'total': 9, 'seed_pairs': 3}}
    """
    found: dict[str, Any] = {}
    for path, value in values.items():
        inside: Any = value
        for part in reversed(path.split(".")):
            inside = {part: inside}
        found = _merged(found, inside)
    return found


def expand(experiment: Experiment) -> list[ArmRun]:
    """The runs of an experiment: every arm with every seed, and full supervision once, with the first seed."""
    arms = {arm: _arm(experiment, arm, where="arms") for arm in experiment.arms} or {experiment.strategy.kind: experiment}
    runs = [ArmRun(arm=arm, seed=seed, experiment=config) for seed in experiment.seeds for arm, config in arms.items()]
    if experiment.full:
        runs.append(
            ArmRun(arm=FULL, seed=experiment.seeds[0], experiment=experiment.model_copy(update={"strategy": Random(), "seed_strategy": Random()}))
        )
    return runs


def to_yaml(experiment: Experiment) -> str:
    """The resolved configuration as YAML."""
    return OmegaConf.to_yaml(OmegaConf.create(experiment.model_dump(mode="json")))


def _arm(experiment: Experiment, arm: str, *, where: str) -> Experiment:
    content = experiment.model_dump(mode="json", exclude={"arms", "tune"}, exclude_unset=True)
    for key in experiment.arms[arm]:
        if key in _SHARED:
            raise ConfigError(f"{where}: arms.{arm}.{key}: arms share {', '.join(_SHARED)}; set it for the whole experiment")
    return _checked_model(_merged(content, experiment.arms[arm]), where=f"{where}: arms.{arm}")


def _checked_model(content: Mapping[str, Any], *, where: str) -> Experiment:
    try:
        return Experiment.model_validate(content)
    except ValidationError as error:
        raise ConfigError(f"{where}: {explain(error, Experiment)}") from error


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid on `base`, level by level; a component of another kind replaces the old one whole."""
    merged = dict(base)
    for key, value in over.items():
        old = base.get(key)
        both = isinstance(value, Mapping) and isinstance(old, Mapping)
        merged[key] = _merged(old, value) if both and value.get("kind", old.get("kind")) == old.get("kind") else value  # type: ignore[union-attr,arg-type]
    return merged


def _checked(overrides: Sequence[str]) -> list[str]:
    for override in overrides:
        if "=" not in override:
            raise ConfigError(f"override {override!r} has no '='; write key.sub=value")
    return list(overrides)
