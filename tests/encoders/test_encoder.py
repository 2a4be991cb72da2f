import pytest

from xmr_ray.encoders import Minilm, OpenClip, Timm
from xmr_ray.encoders.encoder import Encoder
from xmr_ray.errors import ConfigError


def test_what_fits_nothing_reads_no_text():
    texts = iter(["one", "two"])
    assert Encoder(kind="any").fit(texts) is None
    assert next(texts) == "one"


def test_a_foreign_state_is_refused():
    Encoder(kind="any").refuse(None)
    with pytest.raises(ConfigError, match="encoder 'any' fits nothing, but was given 3 bytes of state"):
        Encoder(kind="any").refuse(b"abc")


def test_files_of_weights_are_named_so_that_any_process_finds_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights.pt").write_bytes(b"x")
    assert Timm(checkpoint="weights.pt").located().checkpoint == str(tmp_path / "weights.pt")
    assert OpenClip(pretrained="weights.pt").located().pretrained == str(tmp_path / "weights.pt")
    assert OpenClip().located() == OpenClip()
    assert Minilm().located().folder is None
