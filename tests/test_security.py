"""What docs/deployment.md promises under "Security": nothing from storage is unpickled, and secrets of the environment are written nowhere."""

import ast
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = [path for folder in ("xmr_ray", "jobs", "benchmarks") for path in sorted((ROOT / folder).rglob("*.py"))]
NEEDED = {"torch.load": ("weights_only", True, None), "np.load": ("allow_pickle", False, False)}  # keyword, what it must be, its default
FORBIDDEN = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "planted-aws-secret-6f1d",
    "LABEL_STUDIO_API_KEY": "planted-label-studio-key-77ab",
    "HF_TOKEN": "planted-hub-token-90cc",
    "RAY_AUTH_TOKEN": "planted-ray-token-41ee-long-enough-to-be-one",
    "MY_OWN_PASSWORD": "planted-password-c3d2",
}


def unsafe_reads(source):
    """Calls that could unpickle, and imports of what does nothing else."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and (needed := NEEDED.get(ast.unparse(node.func))):
            given = {keyword.arg: getattr(keyword.value, "value", None) for keyword in node.keywords}
            found += [] if given.get(needed[0], needed[2]) is needed[1] else [ast.unparse(node)]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in {"yaml.load", "yaml.unsafe_load", "torch.jit.load"}:
            found.append(ast.unparse(node))
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name for alias in node.names} | {getattr(node, "module", None) or ""}
            found += [name for name in names if name.split(".")[0] in FORBIDDEN]
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_from_storage_is_unpickled(path):
    assert unsafe_reads(path.read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "torch.load(f)",
        "torch.load(f, weights_only=False)",
        "np.load(f, allow_pickle=maybe)",
        "np.load(f, allow_pickle=True)",
        "yaml.load(f)",
        "import pickle",
        "from dill import load",
    ],
)
def test_what_could_run_code_is_found(source):
    assert len(unsafe_reads(source)) == 1
    assert unsafe_reads("torch.load(f, weights_only=True); np.load(f); np.load(f, allow_pickle=False)") == []


@pytest.mark.ray
@pytest.mark.integration
def test_secrets_of_the_environment_reach_neither_the_run_directory_nor_any_log(tiny_corpus, tmp_path):
    scratch = Path(tempfile.mkdtemp(prefix="xmr", dir="/tmp"))  # Ray's own logs go there; socket paths have a length limit
    content = {"name": "safe", "storage_path": str(tmp_path / "runs"), "corpus": {"path": tiny_corpus.path}, "strategy": {"kind": "entropy"}}
    content |= {"budget": {"total": 30, "seed_pairs": 20, "per_round": 10}, "resources": {"num_cpus": 2, "object_store_mb": 100}}
    content |= {"training": {"label_predictor": {"steps": 20}, "common_space": {"steps": 20}, "num_workers": 1}}
    (tmp_path / "safe.yaml").write_text(json.dumps(content))
    environment = {**os.environ, **SECRETS, "XMR_RAY_LOG": "DEBUG", "RAY_TMPDIR": str(scratch)}
    command = [sys.executable, "-m", "xmr_ray", "run", "-c", str(tmp_path / "safe.yaml")]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, timeout=280, check=False)
        assert done.returncode == 0, done.stderr[-3000:].decode()
        files = [path for folder in (tmp_path / "runs", scratch) for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
        written = {str(path): path.read_bytes() for path in files} | {"stdout": done.stdout, "stderr": done.stderr}
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    assert any(name.endswith("labels.parquet") for name in written)
    assert any("logs" in name for name in written), "Ray's own logs are looked through, too"
    assert {(name, secret) for name, data in written.items() for secret, value in SECRETS.items() if value.encode() in data} == set()
