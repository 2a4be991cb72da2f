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


def test_weights_are_known_by_what_they_hold_not_by_where_they_lie(tmp_path):
    for name, content in (("a.pt", b"x"), ("b.pt", b"x"), ("c.pt", b"y")):
        (tmp_path / name).write_bytes(content)
    a, b, c = (Timm(checkpoint=str(tmp_path / name)).identified() for name in ("a.pt", "b.pt", "c.pt"))
    assert a == b != c
    assert Timm(checkpoint="not here").identified().checkpoint == "not here"
    for name, content in (("m/config.json", b"{}"), ("m/1/w", b"x"), ("n/config.json", b"{}"), ("n/1/w", b"z")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    m, n = (Minilm(folder=str(tmp_path / name)).identified() for name in ("m", "n"))
    assert m != n
    (tmp_path / "n" / "1" / "w").write_bytes(b"x")
    assert Minilm(folder=str(tmp_path / "n")).identified() == m
