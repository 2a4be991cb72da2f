"""Every file in `configs/` loads, expands, and opens with the command that runs it."""

from pathlib import Path

import pytest

from xmr_ray.config import expand, load

CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_shipped_configuration_is_sound(path):
    experiment = load(str(path))
    assert expand(experiment)
    assert experiment.name == path.stem
    head = path.read_text().split("\n\n")[0].split("\n#\n")[0]
    assert f"-c configs/{path.name}" in head, "a file opens with the command that runs it"


def test_there_are_configurations():
    assert {"quickstart", "coco18", "wikipedia", "openclipart69"} <= {path.stem for path in CONFIGS}
