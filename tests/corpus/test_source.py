from xmr_ray.corpus.source import fingerprint
from xmr_ray.readers.synthetic import SyntheticReader


def test_fingerprint_sees_settings_and_inputs_but_not_what_is_ignored():
    base = fingerprint(SyntheticReader(seed=1), "input")
    assert fingerprint(SyntheticReader(seed=1), "input") == base
    assert fingerprint(SyntheticReader(seed=2), "input") != base
    assert fingerprint(SyntheticReader(seed=1), "other") != base
    assert fingerprint(SyntheticReader(seed=1), "input", ignore=("seed",)) == fingerprint(SyntheticReader(seed=2), "input", ignore=("seed",))
