"""The run directory is the state: what lies where, written whole, read back.

<run>/config.yaml            resolved configuration and its fingerprint; written first, never changed
     /choices.json           what `auto` chose on this machine; reused on resume
     /lock                   held by the process that works on the run; in an object store its lease.json
     /rounds/003/            one folder a round, see `RoundDirectory`
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from xmr_ray import storage
from xmr_ray.errors import RunError
from xmr_ray.types import Selection

Json = Mapping[str, Any]


@dataclass(frozen=True)
class RoundDirectory:
    """Paths of one round and the small files in it."""

    path: str
    index: int

    @property
    def selection(self) -> str:
        """What was asked for, best first, with scores and reasons."""
        return storage.join(self.path, "selection.parquet")

    @property
    def receipt(self) -> str:
        """The receipt that closes the purchase."""
        return storage.join(self.path, "labels.parquet")

    @property
    def diagnostics(self) -> str:
        """How the purchase lies in the space that it was chosen in: numbers."""
        return storage.join(self.path, "diagnostics.json")

    @property
    def space(self) -> str:
        """A picture of that space: two coordinates of some pool pairs, the bought and the chosen ones."""
        return storage.join(self.path, "space.parquet")

    @property
    def networks(self) -> str:
        """Both networks of the round."""
        return storage.join(self.path, "networks", "networks.pt")

    @property
    def training(self) -> str:
        """Numbers that a fit leaves behind: steps, temperature, fusion weight, losses."""
        return storage.join(self.path, "networks", "training.json")

    @property
    def checkpoints(self) -> str:
        """Checkpoints of an unfinished fit; removed when the round is finished."""
        return storage.join(self.path, "networks", "checkpoints")

    @property
    def report(self) -> str:
        """Written last; its existence means that the round is finished."""
        return storage.join(self.path, "report.json")

    def folder(self, kind: str) -> str:
        """Folder of `scores`, `embeddings` or `predictions`: one file a descriptor, rows in its order."""
        return storage.join(self.path, kind)

    def write_selection(self, selection: Selection) -> None:
        """Write what will be asked for, whole or not at all."""
        columns = {"pair_id": selection.pair_ids_n, "utility": selection.utility_n, **selection.reasons}
        storage.write_table(self.selection, pa.table({name: pa.array(values) for name, values in columns.items()}))

    def read_selection(self) -> Selection | None:
        """What was asked for, None before it was written."""
        if not storage.exists(self.selection):
            return None
        table = storage.read_table(self.selection)
        columns = {name: np.asarray(table[name].to_numpy()) for name in table.column_names}
        return Selection(columns.pop("pair_id"), columns.pop("utility"), columns)

    def write_report(self, report: Json) -> None:
        """Finish the round."""
        storage.write_whole(self.report, json.dumps(report, indent=2, sort_keys=True).encode())

    def read_report(self) -> dict[str, Any] | None:
        """The report of a finished round, None while it is unfinished."""
        return read_json(self.report)


@dataclass(frozen=True)
class RunDirectory:
    """One run: its configuration, choices and rounds."""

    path: str

    @property
    def config(self) -> str:
        """The resolved configuration."""
        return storage.join(self.path, "config.yaml")

    def round(self, index: int) -> RoundDirectory:
        """Folder of round `index`."""
        return RoundDirectory(storage.join(self.path, "rounds", f"{index:03d}"), index)

    def rounds(self) -> list[RoundDirectory]:
        """Every round that has begun, in order."""
        return [self.round(int(name)) for name in storage.list_names(storage.join(self.path, "rounds")) if name.isdigit()]

    def begin(self, config_yaml: str, fingerprint: str, *, accept_change: bool = False) -> None:
        """Write the configuration of a new run, or check that an old one is the same.

        With `accept_change` a run goes on under another configuration; the earlier one is kept beside it under its fingerprint.

        Raises:
            RunError: the folder holds a run of another configuration or of another corpus.
        """
        header = f"# fingerprint: {fingerprint}\n"
        if not storage.exists(self.config):
            storage.write_whole(self.config, (header + config_yaml).encode())
            return
        found = self.fingerprint()
        if found != fingerprint and accept_change:
            storage.write_whole(storage.join(self.path, f"config.{found[:12]}.yaml"), storage.read_bytes(self.config))
            storage.write_whole(self.config, (header + config_yaml).encode())
            self._drop_unfinished_fits()
        elif found != fingerprint:
            raise RunError(
                f"{self.path}: this run was started with another configuration or corpus (fingerprint {found[:12]}, now {fingerprint[:12]}); "
                f"compare {self.config}, give the experiment another name, or go on all the same with --accept-change"
            )

    def _drop_unfinished_fits(self) -> None:
        """What the earlier configuration trained in a round that is not reported is no part of the new one."""
        for place in self.rounds():
            if not storage.exists(place.report):
                storage.remove_folder(storage.join(place.path, "networks"))

    def fingerprint(self) -> str:
        """The fingerprint that the run was started with."""
        first = storage.read_bytes(self.config).decode().splitlines()[0]
        if not first.startswith("# fingerprint: "):
            raise RunError(f"{self.config}: the first line is {first!r}, expected '# fingerprint: ...'; this file is not to be edited")
        return first.removeprefix("# fingerprint: ").strip()

    def choice(self, name: str, chosen: Any) -> Any:
        """The value chosen when the run first needed it; `chosen` becomes it if there was none."""
        path = storage.join(self.path, "choices.json")
        choices = read_json(path) or {}
        if name not in choices:
            choices[name] = chosen
            storage.write_whole(path, json.dumps(choices, indent=2, sort_keys=True).encode())
        return choices[name]


def read_json(path: str) -> dict[str, Any] | None:
    """A JSON object, None if there is no file; raises `RunError` if it is damaged."""
    if not storage.exists(path):
        return None
    try:
        content: dict[str, Any] = json.loads(storage.read_bytes(path))
    except ValueError as error:
        raise RunError(f"{path}: not valid JSON ({error}); remove it to do this step again") from error
    return content
