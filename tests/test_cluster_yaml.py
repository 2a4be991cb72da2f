"""The launcher's files pass the checks of Ray's own launcher, and those checks are not empty."""

import copy
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
CLOUD = ROOT / "cluster.yaml"
OWN = ROOT / "deploy" / "launcher" / "own_machines.yaml"

pytestmark = pytest.mark.ray
both = pytest.mark.parametrize("path", [CLOUD, OWN], ids=["cloud", "own machines"])


def read(path):
    return yaml.safe_load(path.read_text())


def checked(config):
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(copy.deepcopy(config))
    validate_config(prepared)
    return prepared


@both
def test_ray_accepts_the_file_as_it_is(path, capsys):
    config = read(path)
    prepared = checked(config)
    assert prepared["head_node_type"] in prepared["available_node_types"]
    assert prepared["max_workers"] == config["max_workers"]
    assert "warn" not in "".join(capsys.readouterr()).lower()  # the launcher warns on the terminal where it corrects a number


def test_limits_fit_the_machines():
    # Ray does not see these: it clips numbers that are too high, with a warning
    config = read(OWN)
    assert 0 <= config["min_workers"] <= config["max_workers"] <= len(config["provider"]["worker_ips"])
    assert config["provider"]["head_ip"] not in config["provider"]["worker_ips"]
    (node_type,) = checked(config)["available_node_types"].values()
    assert (node_type["min_workers"], node_type["max_workers"]) == (config["min_workers"], config["max_workers"])


def wrong_types(config):
    """What Ray's schema lets pass in the cloud file, one line each."""
    types, head = config["available_node_types"], config["head_node_type"]
    workers = {name: node for name, node in types.items() if name != head}
    found = [] if types[head]["resources"].get("CPU") == 0 else ["the head takes work"]
    found += ["the head may be taken away"] if "InstanceMarketOptions" in types[head]["node_config"] else []
    found += [f"{name}: more than the cluster may have" for name, node in workers.items() if node["max_workers"] > config["max_workers"]]
    found += [f"{name}: min above max" for name, node in workers.items() if node["min_workers"] > node["max_workers"]]
    if not any(
        node["min_workers"] and node["resources"].get("CPU") and "InstanceMarketOptions" not in node["node_config"] for node in workers.values()
    ):
        found.append("no CPU worker is there from the start")  # a run is planned with what the cluster has when it starts
    for kind, has in (
        ("GPU", lambda node: node["resources"].get("GPU")),
        ("spot", lambda node: node["node_config"].get("InstanceMarketOptions", {}).get("MarketType") == "spot"),
    ):
        if not any(has(node) for node in workers.values()):
            found.append(f"no {kind} worker")
    return found


def test_the_cloud_file_has_a_head_without_work_and_workers_of_every_kind():
    assert wrong_types(read(CLOUD)) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda types: types["head"]["resources"].update(CPU=4), "the head takes work"),
        (lambda types: types["head"]["node_config"].update(InstanceMarketOptions={"MarketType": "spot"}), "the head may be taken away"),
        (lambda types: types["gpu_spot_worker"].update(max_workers=99), "gpu_spot_worker: more than the cluster may have"),
        (lambda types: types["cpu_worker"].update(min_workers=0), "no CPU worker is there from the start"),
        (lambda types: types.pop("gpu_spot_worker"), "no GPU worker"),
    ],
)
def test_what_ray_does_not_see_is_caught(change, told):
    config = read(CLOUD)
    change(config["available_node_types"])
    assert wrong_types(config) == [told]


@both
def test_the_head_does_no_work_and_everybody_needs_a_token(path):
    config = read(path)
    (start,) = [command for command in config["head_start_ray_commands"] if "ray start" in command]
    (join,) = [command for command in config["worker_start_ray_commands"] if "ray start" in command]
    assert {"--head", "--num-cpus=0", "--num-gpus=0", "--dashboard-host=127.0.0.1"} <= set(start.split())
    assert "--num-cpus" not in join
    assert "~/.ray/auth_token" in config["file_mounts"]
    for command in (start, join):
        assert "RAY_AUTH_MODE=token" in command
        assert "--disable-usage-stats" in command


@both
@pytest.mark.parametrize(("key", "value"), [("max_worker", 3), ("cluster_name", 7), ("setup_commands", [1])])
def test_ray_refuses_a_wrong_file(path, key, value):
    from jsonschema import ValidationError

    with pytest.raises(ValidationError):
        checked({**read(path), key: value})


def test_ray_refuses_a_head_that_is_no_type():
    with pytest.raises(ValueError, match="must be one of"):
        checked({**read(CLOUD), "head_node_type": "headless"})
