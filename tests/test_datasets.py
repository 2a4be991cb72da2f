"""The settings shown in docs/datasets.md are settings that the readers accept."""

import re
from pathlib import Path

import pytest
import yaml
from pydantic import TypeAdapter

from xmr_ray.readers import Reader

PAGE = (Path(__file__).parents[1] / "docs" / "datasets.md").read_text(encoding="utf-8")
CORPORA = [yaml.safe_load(block)["corpus"] for block in re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)]
READERS = [corpus["reader"] for corpus in CORPORA if "reader" in corpus]


@pytest.mark.parametrize("settings", READERS, ids=lambda settings: settings["kind"])
def test_shown_settings_are_accepted(settings):
    assert TypeAdapter(Reader).validate_python(settings).kind == settings["kind"]


def test_every_reader_of_the_table_is_shown():
    assert set(re.findall(r"^\| [^|]+ \| `(\w+)` \|", PAGE, flags=re.MULTILINE)) == {settings["kind"] for settings in READERS}
