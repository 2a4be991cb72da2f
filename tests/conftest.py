"""Small corpora for everybody's tests."""

import pytest
from hypothesis import settings

import xmr_ray.cluster  # noqa: F401 sets Ray's environment, which must come before any `import ray`
from xmr_ray.readers.ingest import ingest
from xmr_ray.readers.synthetic import SyntheticReader

# A shared machine makes single timings lie, so no example has a deadline.
settings.register_profile("house", deadline=None)
settings.load_profile("house")


def write_tiny(path, *, multi_label, seed):
    reader = SyntheticReader(
        num_train=600,
        num_validation=80,
        num_test=160,
        image_dim=24,
        text_dim=16,
        num_classes=5,
        latent_dim=6,
        multi_label=multi_label,
        clump_share=0.2,
        num_clumps=4,
        seed=seed,
    )
    return ingest(reader.read(), str(path), rows_per_file=250, row_group_rows=64)


@pytest.fixture(scope="session")
def tiny_corpus(tmp_path_factory):
    """600 / 80 / 160 pairs, image 24, text 16, 5 classes, multi-label, float32; three train files of row groups of 64 rows and fewer."""
    return write_tiny(tmp_path_factory.mktemp("corpora") / "tiny", multi_label=True, seed=1)


@pytest.fixture(scope="session")
def tiny_single(tmp_path_factory):
    """As `tiny_corpus`, but every pair has exactly one label."""
    return write_tiny(tmp_path_factory.mktemp("corpora") / "tiny-single", multi_label=False, seed=2)


@pytest.fixture
def call():
    """What the command line does: a function of a verb's arguments that returns its exit code."""
    from xmr_ray import cli

    def run_verb(*arguments):
        with pytest.raises(SystemExit) as ended:
            cli.main(list(arguments))
        return ended.value.code

    return run_verb


@pytest.fixture
def written(tmp_path, tiny_corpus):
    """Path of a configuration on `tiny_corpus`: 20 seed pairs, then twice 20 more."""
    path = tmp_path / "tiny.yaml"
    path.write_text(
        f"name: tiny\nstorage_path: {tmp_path}/runs\ncorpus: {{path: {tiny_corpus.path}}}\nbudget: {{total: 60, seed_pairs: 20, per_round: 20}}\n"
    )
    return str(path)


@pytest.fixture(scope="session")
def session():
    """Ray with two CPUs on loopback, shared by every test that is marked `ray`."""
    from xmr_ray.cluster.session import open_session
    from xmr_ray.config import Resources

    with open_session(Resources(num_cpus=2, object_store_mb=300, no_progress_timeout_s=120)) as opened:
        yield opened


@pytest.fixture(scope="session")
def quick():
    """Settings that make a fit on a tiny corpus a matter of a second."""
    return {
        "name": "quick",
        "budget": {"total": 60, "seed_pairs": 20, "per_round": 20},
        "arms": {"random": {"strategy": {"kind": "random"}}, "entropy": {"strategy": {"kind": "entropy"}}},
        "training": {"label_predictor": {"steps": 60}, "common_space": {"steps": 60}},
        "resources": {"num_cpus": 2, "object_store_mb": 300},
    }


@pytest.fixture(scope="session")
def raw_networks(tiny_corpus, tmp_path_factory):
    """Networks with fresh weights for `tiny_corpus`, saved; scoring does not ask whether they have learnt anything."""
    import torch

    from xmr_ray import storage
    from xmr_ray.networks import NetworkDims, TwoBranch, TwoTower
    from xmr_ray.networks.round import RoundNetworks
    from xmr_ray.types import TrainedNetworks

    schema = tiny_corpus.schema
    dims = NetworkDims(image_dim=schema.image_dim, text_dim=schema.text_dim, num_classes=schema.num_classes, multi_label=schema.multi_label)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        networks = RoundNetworks(TwoBranch().build(dims), TwoTower().build(dims))
    for network in (networks.label_predictor, networks.common_space):
        network.set_statistics(tiny_corpus.statistics())
    path = str(tmp_path_factory.mktemp("networks") / "networks.pt")
    networks.save(path)
    return TrainedNetworks(path, storage.digest_file(path))
