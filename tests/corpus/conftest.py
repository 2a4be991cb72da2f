"""A private copy of the tiny corpus that a test may damage, and a way to change a file while the manifest still agrees with it."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from xmr_ray.storage import digest_file


@pytest.fixture
def copy(tiny_corpus, tmp_path):
    return Path(shutil.copytree(tiny_corpus.path, tmp_path / "copy"))


@pytest.fixture
def rewrite(copy):
    """Replace a file by a changed table, with its size and hash in the manifest put right."""

    def change(name, edit, *, row_group_size=64):
        path = copy / name
        table = edit(pq.read_table(path))
        pq.write_table(table, path, compression="NONE", use_dictionary=False, row_group_size=row_group_size, write_page_checksum=True)
        manifest = json.loads((copy / "corpus.json").read_text())
        for part in ("splits", "truth"):
            for entry in (entry for files in manifest[part].values() for entry in files if entry["file"] == name):
                entry |= {"bytes": path.stat().st_size, "sha256": digest_file(str(path))}
        (copy / "corpus.json").write_text(json.dumps(manifest))

    return change
