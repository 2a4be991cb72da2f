"""The run directory is the state: what lies where, written whole, read back.

<run>/config.yaml            resolved configuration and its fingerprint; written first, never changed
     /choices.json           what `auto` chose on this machine; reused on resume
     /lock                   held by the process that works on the run; in an object store its lease.json
     /rounds/003/            one folder a round, see `RoundDirectory`
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from xmr_ray import seals, storage
from xmr_ray.errors import CheckpointError, RunError, StorageError
from xmr_ray.types import Selection

Json = Mapping[str, Any]
_FINGERPRINT, _SHA256 = b"# fingerprint: ", b" sha256: "
_NEW_CONFIG = "remove it and start again with the configuration that the run had"


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
    def turn(self) -> str:
        """Where several runs ask the same people: when it was this purchase's turn to ask, counted over all of them."""
        return storage.join(self.path, "turn.json")

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
    def networks_seal(self) -> str:
        """Hash of the networks, written before them."""
        return storage.join(self.path, "networks", "networks.sha256")

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
        storage.write_table(self.selection, seals.seal_table(pa.table({name: pa.array(values) for name, values in columns.items()})))

    def read_selection(self) -> Selection | None:
        """What was asked for, None before it was written; raises `StorageError` if the file is damaged."""
        if not storage.exists(self.selection):
            return None
        table = seals.read_sealed_table(self.selection)
        if not {"pair_id", "utility"} <= set(table.column_names):
            raise StorageError(f"{self.selection}: damaged, it has the columns {table.column_names}")
        columns = {name: np.asarray(table[name].to_numpy()) for name in table.column_names}
        return Selection(columns.pop("pair_id"), columns.pop("utility"), columns)

    def write_networks(self, data: bytes) -> None:
        """Write the networks, and before them the hash by which `networks_digest` knows them."""
        storage.write_whole(self.networks_seal, storage.digest_bytes(data).encode())
        storage.write_whole(self.networks, data)

    def networks_digest(self) -> str | None:
        """SHA-256 of the networks, None before they were trained.

        Raises:
            CheckpointError: they are not what was written.
        """
        if not storage.exists(self.networks):
            return None
        found = storage.digest_file(self.networks)
        if storage.exists(self.networks_seal) and storage.read_bytes(self.networks_seal) != found.encode():
            raise CheckpointError(f"{self.networks}: damaged, its hash is not that in {self.networks_seal}; remove both to train this round anew")
        return found

    def write_report(self, report: Json) -> None:
        """Finish the round."""
        storage.write_whole(self.report, seals.seal_json(report))

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
        content = _headed(config_yaml, fingerprint)
        if not storage.exists(self.config):
            storage.write_whole(self.config, content)
            return
        found = self.fingerprint()
        if found != fingerprint and accept_change:
            storage.write_whole(storage.join(self.path, f"config.{found[:12]}.yaml"), storage.read_bytes(self.config))
            storage.write_whole(self.config, content)
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
        """The fingerprint that the run was started with; raises `RunError` if the file was edited or damaged."""
        head, _, body = storage.read_bytes(self.config).partition(b"\n")
        if not head.startswith(_FINGERPRINT):
            raise RunError(f"{self.config}: the first line is {head!r}, expected '# fingerprint: ...'; this file is not to be edited, {_NEW_CONFIG}")
        written, sealed, seal = head.removeprefix(_FINGERPRINT).strip().partition(_SHA256)
        fingerprint = written.decode(errors="replace")
        if not body or (sealed and seal != _config_seal(fingerprint, body)):
            raise RunError(f"{self.config}: edited or damaged, its content is not what was written; {_NEW_CONFIG}")
        return fingerprint

    def choice(self, name: str, chosen: Any) -> Any:
        """The value chosen when the run first needed it; `chosen` becomes it if there was none."""
        path = storage.join(self.path, "choices.json")
        choices = read_json(path) or {}
        if name not in choices:
            choices[name] = chosen
            storage.write_whole(path, seals.seal_json(choices))
        return choices[name]


def _headed(config_yaml: str, fingerprint: str) -> bytes:
    body = config_yaml.encode()
    return _FINGERPRINT + fingerprint.encode() + _SHA256 + _config_seal(fingerprint, body) + b"\n" + body


def _config_seal(fingerprint: str, body: bytes) -> bytes:
    return storage.digest_bytes(fingerprint.encode() + body).encode()


def read_json(path: str) -> dict[str, Any] | None:
    """A JSON object, its seal checked and taken off; None if there is no file. Raises `RunError` if it is damaged."""
    if not storage.exists(path):
        return None
    try:
        return seals.open_json(storage.read_bytes(path))
    except ValueError as error:
        raise RunError(f"{path}: not valid JSON ({error}); remove it to do this step again") from error
