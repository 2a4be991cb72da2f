"""KubeRay's manifests against a small schema of the operator's fields, and what no schema sees; every check is tried on a manifest that breaks it."""

import copy
import re
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from xmr_ray import __version__

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "kuberay"
SCHEMA = Draft202012Validator(yaml.safe_load((Path(__file__).parent / "kuberay_schema.yaml").read_text()))
UNITS = {"Mi": 2**20, "Gi": 2**30}
LABEL = ("app", "xmr-ray")


def documents(name):
    return list(yaml.safe_load_all((FOLDER / name).read_text()))


def pinned(package):
    return re.search(rf"^{package}==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[1]


def misfits(document):
    """What the schema says, of the kind that the document claims to be."""
    kind = SCHEMA.schema["$defs"].get(document.get("kind"))
    assert kind is not None, document.get("kind")
    validator = SCHEMA.evolve(schema={"$ref": f"#/$defs/{document['kind']}", "$defs": SCHEMA.schema["$defs"]})
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]


def num_bytes(quantity):
    return int(quantity[:-2]) * UNITS[quantity[-2:]]


def cluster_of(document):
    return document["spec"]["rayClusterSpec"] if document["kind"] == "RayJob" else document["spec"]


def wrong_group(name, group, *, is_head):
    """Where a group's pods and what Ray is told of them differ."""
    params, (container,) = group["rayStartParams"], group["template"]["spec"]["containers"]
    limits = container["resources"]["limits"]
    told = {
        "num-cpus": "0" if is_head else limits["cpu"],
        "num-gpus": limits.get("nvidia.com/gpu", "0"),
        "memory": str(num_bytes(limits["memory"])),
    }
    found = [f"{name}: {key} is {params.get(key)}, the pod has {value}" for key, value in told.items() if params.get(key) != value]
    if container["resources"]["requests"] != limits:
        found.append(f"{name}: requests differ from limits")
    volumes = {volume["name"]: volume for volume in group["template"]["spec"]["volumes"]}
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    if set(mounts.values()) != set(volumes):
        found.append(f"{name}: volumes and mounts differ")
    if "persistentVolumeClaim" not in volumes.get(mounts.get("/mnt/shared"), {}):
        found.append(f"{name}: no shared storage")
    memory = volumes.get(mounts.get("/dev/shm"), {}).get("emptyDir", {}).get("sizeLimit", "0Mi")
    if int(params.get("object-store-memory", 2**62)) > num_bytes(memory):
        found.append(f"{name}: the object store is larger than /dev/shm")
    return found + wrong_pod(name, group["template"])


def wrong_pod(name, template):
    """A pod that may become root, is killed at once, or stands outside the network policy."""
    spec, found = template["spec"], []
    if not (spec.get("securityContext", {}).get("runAsNonRoot") and all("drop" in c["securityContext"]["capabilities"] for c in spec["containers"])):
        found.append(f"{name}: may be root")
    if dict([LABEL]).items() - template["metadata"]["labels"].items():
        found.append(f"{name}: outside the network policy")
    if name != "submitter" and spec.get("terminationGracePeriodSeconds", 0) < 60:
        found.append(f"{name}: no time to end cleanly")
    for container in spec["containers"]:
        flavour = "cuda" if "nvidia.com/gpu" in container["resources"]["limits"] else "cpu"
        if container["image"] != f"xmr-ray:{__version__}-{flavour}":
            found.append(f"{name}: image {container['image']}")
    return found


def wrong_cluster(document):
    """What no schema sees, one line each."""
    cluster, found = cluster_of(document), []
    if cluster["rayVersion"] != pinned("ray"):
        found.append(f"rayVersion {cluster['rayVersion']}, constraints.txt has {pinned('ray')}")
    if cluster["authOptions"]["mode"] != "token":
        found.append("anybody may use the cluster")
    found += wrong_group("head", cluster["headGroupSpec"], is_head=True)
    for group in cluster["workerGroupSpecs"]:
        found += wrong_group(group["groupName"], group, is_head=False)
        if not group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]:
            found.append(f"{group['groupName']}: replicas outside their range")
    if not any("nvidia.com/gpu" in group["template"]["spec"]["containers"][0]["resources"]["limits"] for group in cluster["workerGroupSpecs"]):
        found.append("no GPU workers")
    if not any(group["replicas"] for group in cluster["workerGroupSpecs"]):
        found.append("no worker is there from the start")
    return found + (wrong_job(document["spec"]) if document["kind"] == "RayJob" else [])


def wrong_job(spec):
    """A job that is not tried again, leaves its cluster behind, keeps its run where no pod is, or installs packages."""
    found = []
    if not spec["backoffLimit"]:
        found.append("a lost head ends the run")
    if not spec["shutdownAfterJobFinishes"]:
        found.append("the cluster stays")
    if "storage_path=/mnt/shared/" not in spec["entrypoint"]:
        found.append("the run is not on shared storage")
    found += [f"installs with {tool}" for tool in sorted({"pip", "conda", "uv"} & yaml.safe_load(spec["runtimeEnvYAML"]).keys())]
    return found + wrong_pod("submitter", spec["submitterPodTemplate"])


FILES = ["ray-job.run.yaml", "ray-cluster.yaml"]


@pytest.mark.parametrize("name", sorted(path.name for path in FOLDER.glob("*.yaml")))
def test_every_document_fits_the_schema(name):
    found = documents(name)
    assert found
    assert [misfits(document) for document in found] == [[]] * len(found)


@pytest.mark.parametrize("name", FILES)
def test_what_no_schema_sees_holds(name):
    (document,) = documents(name)
    assert wrong_cluster(document) == []


def test_the_claim_and_the_wall_are_those_that_the_clusters_use():
    claim, wall = documents("shared.yaml")
    for name in FILES:
        (document,) = documents(name)
        for group in [cluster_of(document)["headGroupSpec"], *cluster_of(document)["workerGroupSpecs"]]:
            claims = [
                volume["persistentVolumeClaim"]["claimName"] for volume in group["template"]["spec"]["volumes"] if "persistentVolumeClaim" in volume
            ]
            assert claims == [claim["metadata"]["name"]]
            ports = {port["containerPort"] for port in group["template"]["spec"]["containers"][0]["ports"]}
            assert int(group["rayStartParams"]["metrics-export-port"]) in ports
    assert wall["spec"]["podSelector"]["matchLabels"] == dict([LABEL])
    open_to_all = [rule for rule in wall["spec"]["ingress"] if not all("podSelector" in peer or "namespaceSelector" in peer for peer in rule["from"])]
    assert open_to_all == []
    outside = [rule for rule in wall["spec"]["ingress"] if any("namespaceSelector" in peer for peer in rule["from"])]
    assert [[port["port"] for port in rule["ports"]] for rule in outside] == [[8265], [8080]], "others reach these ports and no more"


# ---- negative controls


def job():
    return copy.deepcopy(documents("ray-job.run.yaml")[0])


def at(document, path):
    for key in path:
        document = document[key]
    return document


GPU = ["spec", "rayClusterSpec", "workerGroupSpecs", 1]
CPU = ["spec", "rayClusterSpec", "workerGroupSpecs", 0]
HEAD = ["spec", "rayClusterSpec", "headGroupSpec"]


@pytest.mark.parametrize(
    ("path", "key", "value", "told"),
    [
        (["spec"], "backofLimit", 3, "backofLimit"),
        (["spec", "rayClusterSpec"], "autoscalerOption", {}, "autoscalerOption"),
        (["spec", "rayClusterSpec"], "rayVersion", 2.6, "2.6 is not of type 'string'"),
        (["spec", "rayClusterSpec", "authOptions"], "mode", "tokens", "tokens"),
        ([*CPU, "rayStartParams"], "num-cpus", 8, "8 is not of type 'string'"),
        (CPU, "minReplica", 1, "minReplica"),
        ([*CPU, "template", "spec"], "terminationGracePeriod", 60, "terminationGracePeriod"),
        ([*CPU, "template", "spec", "containers", 0], "image", "xmr-ray", "does not match"),
        ([*CPU, "template", "spec", "containers", 0, "resources", "limits"], "memory", "16G", "does not match"),
        (["metadata"], "name", "xmr_ray", "does not match"),
    ],
)
def test_misspelt_fields_and_wrong_types_are_caught(path, key, value, told):
    document = job()
    at(document, path)[key] = value
    assert any(told in line for line in misfits(document)), misfits(document)


@pytest.mark.parametrize("path", [["spec", "entrypoint"], ["spec", "rayClusterSpec", "authOptions"], [*CPU, "maxReplicas"]])
def test_missing_fields_are_caught(path):
    document = job()
    del at(document, path[:-1])[path[-1]]
    assert any("is a required property" in line for line in misfits(document))


@pytest.mark.parametrize(
    ("path", "key", "value", "told"),
    [
        (["spec", "rayClusterSpec"], "rayVersion", "2.59.0", "rayVersion 2.59.0, constraints.txt has"),
        ([*CPU, "rayStartParams"], "num-cpus", "16", "cpu: num-cpus is 16, the pod has 8"),
        ([*GPU, "rayStartParams"], "num-gpus", "2", "gpu: num-gpus is 2, the pod has 1"),
        ([*GPU, "rayStartParams"], "memory", "1", "gpu: memory is 1, the pod has 34359738368"),
        ([*CPU, "rayStartParams"], "object-store-memory", "99999999999", "cpu: the object store is larger than /dev/shm"),
        ([*HEAD, "rayStartParams"], "num-cpus", "2", "head: num-cpus is 2, the pod has 0"),
        ([*CPU, "template", "spec", "containers", 0, "resources"], "requests", {"cpu": "1", "memory": "1Gi"}, "cpu: requests differ from limits"),
        ([*CPU, "template", "spec"], "terminationGracePeriodSeconds", 0, "cpu: no time to end cleanly"),
        ([*CPU, "template", "spec"], "securityContext", {}, "cpu: may be root"),
        ([*CPU, "template", "metadata"], "labels", {"app": "other"}, "cpu: outside the network policy"),
        ([*GPU, "template", "spec", "containers", 0], "image", f"xmr-ray:{__version__}-cpu", f"gpu: image xmr-ray:{__version__}-cpu"),
        (CPU, "replicas", 99, "cpu: replicas outside their range"),
        (["spec", "rayClusterSpec", "authOptions"], "mode", "disabled", "anybody may use the cluster"),
        (["spec"], "backoffLimit", 0, "a lost head ends the run"),
        (["spec"], "shutdownAfterJobFinishes", False, "the cluster stays"),
        (["spec"], "entrypoint", "python -m xmr_ray run -c x.yaml", "the run is not on shared storage"),
        (["spec"], "runtimeEnvYAML", "pip: [numpy]", "installs with pip"),
    ],
)
def test_what_no_schema_sees_is_caught(path, key, value, told):
    document = job()
    at(document, path)[key] = value
    assert any(line.startswith(told) for line in wrong_cluster(document)), wrong_cluster(document)
