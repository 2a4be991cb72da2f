"""cluster.yaml passes the checks of Ray's own launcher, and those checks are not empty."""

import copy
from pathlib import Path

import pytest
import yaml

FILE = Path(__file__).parents[1] / "cluster.yaml"

pytestmark = pytest.mark.ray


@pytest.fixture
def config():
    return yaml.safe_load(FILE.read_text())


def checked(config):
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(copy.deepcopy(config))
    validate_config(prepared)
    return prepared


def test_ray_accepts_the_file_as_it_is(config, capsys):
    prepared = checked(config)
    (node_type,) = prepared["available_node_types"].values()
    assert prepared["head_node_type"] in prepared["available_node_types"]
    assert (node_type["min_workers"], node_type["max_workers"]) == (config["min_workers"], config["max_workers"])
    assert prepared["max_workers"] == config["max_workers"]
    assert "warn" not in "".join(capsys.readouterr()).lower()  # the launcher warns on the terminal where it corrects a number


def test_limits_fit_the_machines(config):
    # Ray does not see these: it clips numbers that are too high, with a warning
    assert 0 <= config["min_workers"] <= config["max_workers"] <= len(config["provider"]["worker_ips"])
    assert config["provider"]["head_ip"] not in config["provider"]["worker_ips"]


def test_the_head_does_no_work_and_everybody_needs_a_token(config):
    (start,) = [command for command in config["head_start_ray_commands"] if "ray start" in command]
    (join,) = [command for command in config["worker_start_ray_commands"] if "ray start" in command]
    assert {"--head", "--num-cpus=0", "--num-gpus=0"} <= set(start.split())
    assert "--num-cpus" not in join
    for command in (start, join):
        assert "RAY_AUTH_MODE=token" in command
        assert "--disable-usage-stats" in command


@pytest.mark.parametrize(("key", "value"), [("max_worker", 3), ("cluster_name", 7), ("setup_commands", [1])])
def test_ray_refuses_a_wrong_file(config, key, value):
    from jsonschema import ValidationError

    with pytest.raises(ValidationError):
        checked({**config, key: value})
