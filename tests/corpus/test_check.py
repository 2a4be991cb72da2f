import json
import os

import numpy as np
import pyarrow as pa

from xmr_ray.corpus.check import check_corpus


def only(copy):
    report = check_corpus(str(copy))
    assert len(report.findings) == 1, [str(finding) for finding in report.findings]
    return report.findings[0]


def set_image(row, dim, value):
    def edit(table):
        image = np.stack([np.frombuffer(entry.as_py(), dtype="<f4") for entry in table.column("image")]).copy()
        image[row, dim] = value
        return table.set_column(1, table.schema.field("image"), pa.array([bytes(entry) for entry in image], type=pa.binary(96)))

    return edit


def set_id(row, value):
    def edit(table):
        ids = table.column("pair_id").to_pylist()
        ids[row] = value
        return table.set_column(0, "pair_id", pa.array(ids))

    return edit


def set_labels(row, value):
    def edit(table):
        labels = table.column("labels").to_pylist()
        labels[row] = value
        return table.set_column(1, "labels", pa.array(labels, type=pa.list_(pa.int32())))

    return edit


def edit_manifest(copy, change):
    manifest = json.loads((copy / "corpus.json").read_text())
    change(manifest)
    (copy / "corpus.json").write_text(json.dumps(manifest))


def test_sound_corpora_have_no_findings(tiny_corpus, tiny_single):
    for corpus in (tiny_corpus, tiny_single):
        report = check_corpus(corpus.path)
        assert report.ok
        assert report.num_pairs == 840


def test_no_corpus(tmp_path):
    assert "no corpus" in only(tmp_path).message


def test_unreadable_manifest(copy):
    (copy / "corpus.json").write_text("{}")
    assert "not a manifest" in only(copy).message


def test_missing_file(copy):
    (copy / "train" / "pairs-00001.parquet").unlink()
    finding = only(copy)
    assert (finding.file, finding.message) == ("train/pairs-00001.parquet", "the file is missing")


def test_truncated_file(copy):
    path = copy / "train" / "pairs-00001.parquet"
    os.truncate(path, 1000)
    messages = [finding.message for finding in check_corpus(str(copy)).findings]
    assert messages[0].startswith("has 1000 bytes, the manifest says")
    assert any("row group 0" in message for message in messages)


def test_flipped_byte_in_a_page_is_found_by_hash_and_by_page(copy):
    path = copy / "train" / "pairs-00001.parquet"
    data = bytearray(path.read_bytes())
    data[3000] ^= 1
    path.write_bytes(data)
    first, second = check_corpus(str(copy)).findings
    assert "differ from the manifest's hash" in first.message
    assert (second.row, second.message.split(":")[0]) == (0, "row group 0")


def test_value_that_is_not_finite(rewrite, copy, tiny_corpus):
    rewrite("train/pairs-00001.parquet", set_image(70, 3, np.nan))
    finding = only(copy)
    pair_id = int(tiny_corpus.pair_ids("train")[250 + 70])
    assert (finding.file, finding.row, finding.pair_id, finding.message) == ("train/pairs-00001.parquet", 70, pair_id, "image[3] is nan")
    assert str(finding) == f"train/pairs-00001.parquet row 70 (pair_id {pair_id}): image[3] is nan"


def test_every_bad_value_is_collected(rewrite, copy):
    rewrite("train/pairs-00001.parquet", set_image(slice(60, 70), 3, np.inf))
    assert [finding.row for finding in check_corpus(str(copy)).findings] == list(range(60, 70))


def test_findings_have_a_limit(rewrite, copy, monkeypatch):
    monkeypatch.setattr("xmr_ray.corpus.check.MAX_FINDINGS", 4)
    rewrite("train/pairs-00001.parquet", set_image(slice(60, 70), 3, np.inf))
    assert len(check_corpus(str(copy)).findings) == 4


def test_repeated_id_in_another_file(rewrite, copy, tiny_corpus):
    pair_id = int(tiny_corpus.pair_ids("train")[5])
    rewrite("test/pairs-00000.parquet", set_id(9, pair_id))
    rewrite("truth/test-00000.parquet", set_id(9, pair_id))
    finding = only(copy)
    assert (finding.file, finding.row, finding.pair_id, finding.message) == ("test/pairs-00000.parquet", 9, pair_id, "pair_id is repeated")


def test_missing_ids_on_both_sides(rewrite, copy, tiny_corpus):
    old = int(tiny_corpus.pair_ids("test")[9])
    rewrite("truth/test-00000.parquet", set_id(9, 10**9))
    found = {(finding.file, finding.row, finding.pair_id): finding.message for finding in check_corpus(str(copy)).findings}
    assert found == {
        ("test/pairs-00000.parquet", 9, old): "no truth for this pair in truth/test-00000.parquet",
        ("truth/test-00000.parquet", 9, 10**9): "truth for a pair that test/pairs-00000.parquet does not hold",
    }


def test_truth_in_another_order(rewrite, copy, tiny_corpus):
    rewrite("truth/test-00000.parquet", lambda table: pa.concat_tables([table.slice(0, 5), table.slice(6, 1), table.slice(5, 1), table.slice(7)]))
    finding = only(copy)
    assert (finding.row, finding.pair_id) == (5, int(tiny_corpus.pair_ids("test")[6]))
    assert "misaligned with test/pairs-00000.parquet" in finding.message


def test_label_outside_the_classes(rewrite, copy, tiny_corpus):
    rewrite("truth/test-00000.parquet", set_labels(33, [0, 5]))
    finding = only(copy)
    assert (finding.row, finding.pair_id) == (33, int(tiny_corpus.pair_ids("test")[33]))
    assert finding.message == "label 5 is outside the 5 classes"


def test_several_labels_in_a_single_label_corpus(rewrite, copy):
    edit_manifest(copy, lambda manifest: manifest["corpus"].update(multi_label=False))
    rewrite("truth/test-00000.parquet", set_labels(0, [0, 1]))
    assert any(finding.message == "2 labels, but the corpus is single-label" for finding in check_corpus(str(copy)).findings)


def test_wrong_width_in_one_shard(rewrite, copy):
    def narrower(table):
        return table.set_column(1, "image", pa.array([value.as_py()[:-4] for value in table.column("image")], type=pa.binary(92)))

    rewrite("train/pairs-00002.parquet", narrower)
    findings = check_corpus(str(copy)).findings
    assert [finding.file for finding in findings] == ["train/pairs-00002.parquet"] * 2
    assert "92 bytes, expected 96" in findings[0].message


def test_missing_column(rewrite, copy):
    rewrite("test/pairs-00000.parquet", lambda table: table.drop_columns(["text"]))
    assert "no column 'text'" in only(copy).message


def test_rows_that_the_manifest_does_not_know(rewrite, copy):
    rewrite("validation/pairs-00000.parquet", lambda table: table.slice(0, 70))
    messages = [finding.message for finding in check_corpus(str(copy)).findings]
    assert messages[0] == "row group 1 holds 6 rows, the manifest says 16"


def test_rows_that_are_missing_at_the_end(rewrite, copy):
    rewrite("validation/pairs-00000.parquet", lambda table: table.slice(0, 64))
    assert "holds 64 rows, the manifest says 80" in only(copy).message


def test_empty_split(copy):
    def drop_test(manifest):
        del manifest["splits"]["test"], manifest["truth"]["test"]

    edit_manifest(copy, drop_test)
    assert only(copy).message == "split 'test' is empty"


def test_changed_statistics(copy):
    path = copy / "statistics.npz"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    finding = only(copy)
    assert finding.file == "statistics.npz"
    path.unlink()
    assert only(copy).message == "the file is missing"
