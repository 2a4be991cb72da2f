"""What `ray job submit --working-dir .` uploads, by Ray's own packer: code and configurations, nothing that git ignores, nothing big."""

import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.ray
ROOT = Path(__file__).parents[2]
BIG = 1_000_000
LIMIT = 16_000_000


def uploaded(root, tmp_path, excludes=()):
    """Path below `root` -> bytes of every file that Ray would upload."""
    from ray._private.ray_constants import get_runtime_env_default_excludes
    from ray._private.runtime_env.packaging import _zip_files

    output = tmp_path / "upload.zip"
    _zip_files(str(root), [*get_runtime_env_default_excludes(), *excludes], str(output), include_gitignore=True)
    with zipfile.ZipFile(output) as packed:
        return {item.filename: item.file_size for item in packed.infolist() if not item.is_dir()}


def too_big(files):
    """Files of more than 1 MB outside the package."""
    return sorted(name for name, size in files.items() if size > BIG and not name.startswith("xmr_ray/"))


def ignored_by_git(root, names):
    """Those of the names that .gitignore leaves out, by git itself."""
    asked = subprocess.run(
        ["git", "-C", str(root), "check-ignore", "--no-index", "--stdin"], input="\n".join(names), capture_output=True, text=True, check=False
    )
    assert asked.returncode in (0, 1), asked.stderr
    return asked.stdout.splitlines()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return uploaded(ROOT, tmp_path_factory.mktemp("upload"))


def test_the_upload_has_what_a_job_needs_and_no_more(files):
    needed = {f"jobs/{verb}.py" for verb in ("run", "score", "train")} | {"configs/quickstart.yaml", "xmr_ray/cli.py", "xmr_ray/py.typed"}
    needed |= {path.relative_to(ROOT).as_posix() for path in (ROOT / "xmr_ray").rglob("*.py")}
    assert needed <= files.keys()
    assert {name.split("/")[0] for name in files if "/" in name} == {"configs", "jobs", "xmr_ray"}
    assert sum(files.values()) < LIMIT


def test_nothing_big_outside_the_package_and_nothing_that_git_ignores(files):
    assert too_big(files) == []
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("no git here")
    assert ignored_by_git(ROOT, files) == []


@pytest.fixture
def tree(tmp_path):
    """A checkout with what work leaves behind."""
    root = tmp_path / "checkout"
    planted = ["runs/a/receipt", "corpora/b", "originals/c", ".venv-x/lib/d.py", ".git/config", "docs/e.png", ".pytest_cache/f", "x.egg-info/g"]
    kept = ["xmr_ray/runs/lock.py", "xmr_ray/cluster/corpora.py", "xmr_ray/report/build.py", "jobs/run.py", "configs/runs.yaml"]
    for name in [*planted, *kept]:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")
    for name in (".gitignore", ".rayignore"):
        shutil.copy(ROOT / name, root / name)
    return root, planted, kept


def test_what_work_leaves_behind_stays_and_the_package_goes(tree, tmp_path):
    root, planted, kept = tree
    found = uploaded(root, tmp_path)
    assert set(planted) & found.keys() == set()
    assert set(kept) <= found.keys()


def test_without_the_file_it_would_not_and_big_files_are_caught(tree, tmp_path):
    root, _, _ = tree
    (root / ".rayignore").unlink()
    (root / "notes.bin").write_bytes(b"x" * (BIG + 1))
    found = uploaded(root, tmp_path)
    assert "docs/e.png" in found
    assert too_big(found) == ["notes.bin"]


def environment():
    return yaml.safe_load((ROOT / "jobs" / "runtime_env.yaml").read_text())


def unlawful(content):
    """What a runtime environment of ours must not have: anything that installs packages, and values that are secrets."""
    installers = {"pip", "conda", "uv", "image_uri", "container"} & content.keys()
    return sorted(installers) + sorted(
        name for name in content.get("env_vars", {}) if any(word in name for word in ("TOKEN", "KEY", "SECRET", "PASSWORD"))
    )


def test_ray_takes_the_runtime_environment_and_it_installs_nothing():
    from ray.runtime_env import RuntimeEnv

    content = environment()
    assert content.keys() <= RuntimeEnv.known_fields
    assert RuntimeEnv(**content)["env_vars"] == content["env_vars"]
    assert unlawful(content) == []


@pytest.mark.parametrize(
    ("planted", "told"),
    [({"pip": ["numpy"]}, ["pip"]), ({"uv": ["numpy"]}, ["uv"]), ({"env_vars": {"RAY_AUTH_TOKEN": "x"}}, ["RAY_AUTH_TOKEN"])],
)
def test_installers_and_secrets_are_caught(planted, told):
    assert unlawful({**environment(), **planted}) == told


@pytest.mark.parametrize("wrong", [{"env_vars": {"A": 1}}, {"excludes": "runs"}])
def test_ray_refuses_wrong_types(wrong):
    from ray.runtime_env import RuntimeEnv

    with pytest.raises((TypeError, ValueError)):
        RuntimeEnv(**{**environment(), **wrong})


def test_excludes_keep_runs_here_without_the_ignore_files(tree, tmp_path):
    root, _, kept = tree
    for name in (".gitignore", ".rayignore"):
        (root / name).unlink()
    found = uploaded(root, tmp_path, environment()["excludes"])
    assert {"runs/a/receipt", "corpora/b", "originals/c", ".venv-x/lib/d.py"} & found.keys() == set()
    assert set(kept) <= found.keys()
