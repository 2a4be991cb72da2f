from pathlib import Path

import numpy as np
import pytest

from xmr_ray.corpus.check import check_corpus
from xmr_ray.corpus.open import PairedCorpus, corpus_root
from xmr_ray.corpus.truth import open_truth


@pytest.fixture(scope="module")
def embedded():
    return PairedCorpus.open("embedded")


def test_sizes_are_those_of_the_provenance(embedded):
    assert {split: embedded.num_pairs(split) for split in embedded.splits} == {"train": 2465, "validation": 300, "test": 800}
    assert (embedded.schema.image_dim, embedded.schema.text_dim, embedded.schema.num_classes) == (256, 384, 69)
    assert (embedded.schema.image_dtype, embedded.schema.multi_label) == ("f16", True)


def test_it_is_sound():
    report = check_corpus("embedded")
    assert report.findings == ()
    assert report.num_pairs == 3565


def test_it_is_small_and_carries_its_licence():
    files = [path for path in Path(corpus_root("embedded")).rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 8_000_000
    assert "public domain" in (Path(corpus_root("embedded")) / "PROVENANCE.md").read_text()


def test_workers_get_balanced_shares(embedded):
    assert len(embedded.descriptors("train")) >= 8


def test_every_pair_has_title_thumbnail_and_label(embedded):
    for split in embedded.splits:
        items = embedded.items(embedded.pair_ids(split))
        assert all(item.caption for item in items.values())
        assert all(item.thumbnail is not None and item.thumbnail[8:12] == b"WEBP" for item in items.values())
        assert (np.diff(open_truth(embedded, split).offsets) >= 1).all()


def test_standardising_does_not_whiten(embedded):
    # the principal component scores themselves span a factor of 11
    std_I = embedded.statistics().image_std_I
    assert std_I.max() / std_I.min() < 2
