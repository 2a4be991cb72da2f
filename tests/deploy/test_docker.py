"""A small linter for our Dockerfile, for it cannot be built by a test; every rule is tried on a file that breaks it."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest

from xmr_ray import __version__

ROOT = Path(__file__).parents[2]
FILE = ROOT / "deploy" / "docker" / "Dockerfile"
IGNORE = FILE.with_name("Dockerfile.dockerignore")
TARGETS = {"cpu", "cuda"}
# what jobs need that run in the image: HDF5, runs in s3:// and gs://, a search, a server of people
EXTRAS = {"readers", "object-store", "tune", "label-studio"}
KNOWN = {"FROM", "RUN", "ENV", "ARG", "LABEL", "COPY", "WORKDIR", "USER", "CMD"}


def instructions(text):
    """(instruction, its arguments) in order; continued lines joined, comments gone."""
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\n", " ", lines)
    return [(word.upper(), rest.strip()) for word, _, rest in (line.strip().partition(" ") for line in joined.splitlines() if line.strip())]


def pinned(package):
    found = re.search(rf"^{package}==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    return found and found[1]


def stages(found):
    """Name -> (what it is built from, its instructions), in order."""
    named = {}
    for word, rest in found:
        if word == "FROM":
            source, _, name = (*rest.split(), "", "")[:3]
            named[name] = (source, [])
        elif named:
            list(named.values())[-1][1].append((word, rest))
    return named


def problems(text):
    """What is wrong with a Dockerfile, one line each."""
    found = instructions(text)
    named = stages(found)
    wrong = [f"unknown instruction {word}" for word, _ in found if word not in KNOWN]
    wrong += [f"no target {name}" for name in sorted(TARGETS - named.keys())]
    for name, (source, body) in named.items():
        if source not in named and (":" not in source or source.endswith(":latest")):
            wrong.append(f"{source} is not pinned by a tag")
        users = [rest for word, rest in body if word == "USER"]
        if name in TARGETS and (not users or not re.fullmatch(r"[1-9]\d*", users[-1])):
            wrong.append(f"{name} ends as root or as a user without a number")
    for word, rest in found:
        wrong += wrong_instruction(word, rest, named)
    if "HNSWLIB_NO_NATIVE=1" not in " ".join(rest for word, rest in found if word == "ENV"):
        wrong.append("hnswlib would be compiled for the builder's CPU")
    if "/etc/profile.d/" not in text:
        wrong.append("a login shell would not find the environment")
    return wrong + wrong_labels(found) + wrong_extras(found)


def wrong_extras(found):
    installed = {extra.strip() for word, rest in found if word == "RUN" for some in re.findall(r"'\.\[(.*?)\]'", rest) for extra in some.split(",")}
    offered = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    packages = {re.match(r"[\w-]+", package)[0] for extra in installed & offered.keys() for package in offered[extra]}
    return [
        *(f"extra {extra} is not in the image" for extra in sorted(EXTRAS - installed)),
        *(f"no extra {extra} in pyproject.toml" for extra in sorted(installed - offered.keys())),
        *(f"{package} is not pinned in constraints.txt" for package in sorted(packages) if pinned(package) is None),
    ]


def wrong_instruction(word, rest, named):
    if word == "COPY":
        parts = shlex.split(rest)
        stage = [part.removeprefix("--from=") for part in parts if part.startswith("--from=")]
        sources = [part for part in parts[:-1] if not part.startswith("--")]
        if stage:
            return [] if stage[0] in named else [f"no stage {stage[0]}"]
        return [f"{source} does not exist" for source in sources if not (ROOT / source).exists()]
    if word == "RUN":
        wrong = [
            f"without the constraints: {call.strip()}"
            for call in rest.split("&&")
            if " pip install " in call and "--constraint constraints.txt" not in call
        ]
        if "apt-get install" in rest and not {"--no-install-recommends", "/var/lib/apt/lists/*"} <= set(rest.split()):
            wrong.append("apt-get leaves things behind")
        return wrong + [f"fetches {link}" for link in re.findall(r"https?://\S+", rest)]
    if word == "ARG" and re.search(r"=.*//", rest):
        return [f"names a host: {rest}"]
    if word in {"ENV", "ARG"} and re.search(r"TOKEN|SECRET|PASSWORD|API_KEY", rest):
        return [f"a secret in the image: {rest}"]
    return []


def wrong_labels(found):
    labels = dict(part.split("=", 1) for word, rest in found if word == "LABEL" for part in shlex.split(rest))
    wanted = {
        "org.opencontainers.image.version": __version__,
        "xmr-ray.version.ray": pinned("ray"),
        "xmr-ray.version.torch": pinned("torch"),
    }
    return [f"label {name} is {labels.get(name)}, expected {value}" for name, value in wanted.items() if labels.get(name) != value]


def test_the_file_is_clean():
    assert problems(FILE.read_text()) == []


def test_what_is_copied_reaches_the_build():
    admitted = {line.removeprefix("!") for line in IGNORE.read_text().splitlines() if line.startswith("!")}
    copied = {
        source for word, rest in instructions(FILE.read_text()) if word == "COPY" and "--from=" not in rest for source in shlex.split(rest)[:-1]
    }
    assert copied == admitted
    assert IGNORE.read_text().startswith("*\n")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("FROM python:3.11-slim-bookworm AS builder", "FROM python AS builder", "python is not pinned by a tag"),
        ("FROM python:3.11-slim-bookworm AS builder", "FROM python:latest AS builder", "python:latest is not pinned by a tag"),
        ("AS cuda", "AS gpu", "no target cuda"),
        ('CMD ["xmr-ray", "--help"]', "USER root", "cpu ends as root or as a user without a number"),
        ("COPY configs ", "COPY settings ", "settings does not exist"),
        ("--from=builder", "--from=bilder", "no stage bilder"),
        ('ray="2.60.0"', 'ray="2.59.0"', "label xmr-ray.version.ray is 2.59.0, expected 2.60.0"),
        (f'image.version="{__version__}"', 'image.version="9"', f"label org.opencontainers.image.version is 9, expected {__version__}"),
        ("--constraint constraints.txt '.[readers", "'.[readers", "without the constraints: python -m pip install '.[readers"),
        ("object-store,", "", "extra object-store is not in the image"),
        ("tune,label-studio", "label-studio", "extra tune is not in the image"),
        (",label-studio]", ",label-studoi]", "no extra label-studoi in pyproject.toml"),
        ("[readers,", "[readers,torchvision,", "torchvision is not pinned in constraints.txt"),
        ("HNSWLIB_NO_NATIVE=1", "HNSWLIB_NATIVE=1", "hnswlib would be compiled for the builder's CPU"),
        ('ARG TORCH_INDEX=""', 'ARG TORCH_INDEX="https://example.org/whl"', 'names a host: TORCH_INDEX="https://example.org/whl"'),
        ("PYTHONUNBUFFERED=1", "RAY_AUTH_TOKEN=x", "a secret in the image"),
        ("RUN python -m venv /opt/venv", "RUN wget https://example.org/x", "fetches https://example.org/x"),
        ("WORKDIR /src", "WORKDR /src", "unknown instruction WORKDR"),
        ("/etc/profile.d/xmr_ray.sh", "/tmp/x", "a login shell would not find the environment"),
        (" --no-install-recommends libgomp1", " libgomp1", "apt-get leaves things behind"),
    ],
)
def test_mistakes_are_caught(old, new, told):
    text = FILE.read_text()
    assert old in text
    assert any(line.startswith(told) for line in problems(text.replace(old, new))), problems(text.replace(old, new))
