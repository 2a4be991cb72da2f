"""Labels of people: in by files and out again, without Ray; and once the whole loop on Ray, on a corpus without any truth."""

import json
from dataclasses import replace

import numpy as np
import pytest

from xmr_ray import storage
from xmr_ray.cluster.annotators import annotator_of
from xmr_ray.cluster.labelling import export_labels, import_answers, label_status
from xmr_ray.cluster.runner import campaign_of, experiment_path, open_corpus, others_of, pick, run_experiment
from xmr_ray.config import expand, to_yaml, validate
from xmr_ray.corpus.open import PairedCorpus
from xmr_ray.corpus.source import Source
from xmr_ray.corpus.truth import open_truth
from xmr_ray.errors import ConfigError, LedgerError, RunError
from xmr_ray.labels.formats import LabelRow, read_rows, write_rows
from xmr_ray.loop.state import restore
from xmr_ray.readers.ingest import ingest
from xmr_ray.readers.synthetic import SyntheticReader
from xmr_ray.runs.directory import RunDirectory
from xmr_ray.runs.lock import exclusive
from xmr_ray.types import Selection

ASKED = [4, 2, 9]


def write_corpus(path, *, truth, num_test):
    """300 train pairs with or without truth, and test pairs without."""
    reader = SyntheticReader(num_train=300, num_validation=0, num_test=num_test, image_dim=24, text_dim=16, num_classes=5, latent_dim=6, seed=1)
    source = reader.read()
    shards = ((split, records if truth and split == "train" else replace(records, labels=None)) for split, records in source.shards())
    ingest(Source.of(source.schema, shards), str(path), rows_per_file=200, row_group_rows=64)
    return str(path)


@pytest.fixture
def experiment(tmp_path):
    path = write_corpus(tmp_path / "corpus", truth=False, num_test=0)
    content = {"name": "people", "storage_path": str(tmp_path / "runs"), "corpus": {"path": path}, "annotator": {"kind": "files"}}
    return validate({**content, "budget": {"total": 12, "seed_pairs": 3, "per_round": 4}}, where="test")


@pytest.fixture
def directory(experiment):
    return RunDirectory(storage.join(experiment_path(experiment), "random-s0"))


@pytest.fixture
def waiting(experiment, directory):
    """The run asks for three pairs; returns their ids."""
    corpus = open_corpus(experiment)
    run = pick(experiment, arm=None, seed=None)
    directory.begin(to_yaml(run.experiment), run.fingerprint(corpus.fingerprint))
    ids = corpus.pair_ids("train")[ASKED]
    directory.round(0).write_selection(Selection(ids, np.zeros(3)))
    return ids.tolist()


def csv(path, *lines):
    path.write_text("\n".join(["pair_id,labels,answer", *lines]) + "\n")
    return str(path)


def test_answers_in_parts_close_the_purchase_when_all_are_there(experiment, directory, waiting, tmp_path):
    first = csv(tmp_path / "a.csv", f"{waiting[0]},class-1;class-0,labelled", f"{waiting[1]},,cannot_tell")
    found = import_answers(experiment, [first])
    assert (found.num_new, found.status.num_answered, found.status.num_asked, found.status.waiting_round) == (2, 2, 3, 0)
    tasks = storage.read_bytes(storage.join(directory.round(0).path, "to_label", "tasks.jsonl")).splitlines()
    assert [json.loads(line)["pair_id"] for line in tasks] == waiting[2:], "what is answered leaves the page"
    found = import_answers(experiment, [first, csv(tmp_path / "b.csv", f"{waiting[2]},,labelled")])
    assert (found.num_new, found.num_same, found.status.waiting_round, found.status.num_bought) == (1, 2, None, 3)
    ledger = restore(directory).ledger
    assert ledger.cannot_tell_n.tolist() == [waiting[1]]
    assert ledger.labels.dense([waiting[0], waiting[2]], num_classes=5).tolist() == [[1, 1, 0, 0, 0], [0] * 5]
    again = import_answers(experiment, [first])
    assert (again.num_new, again.num_same, again.problems) == (0, 2, ())


def test_a_file_with_problems_imports_nothing_unless_what_is_good_is_wanted(experiment, directory, waiting, tmp_path):
    file = csv(tmp_path / "a.csv", f"{waiting[0]},class-1,labelled", f"{waiting[1]},class-7,labelled", "123456,class-1,labelled")
    found = import_answers(experiment, [file])
    assert len(found.problems) == 2
    assert (found.num_new, found.status.num_answered) == (0, 0)
    found = import_answers(experiment, [file], partial=True)
    assert (found.num_new, found.status.num_answered, len(found.problems)) == (1, 1, 2)


def test_an_answer_is_replaced_only_where_that_is_asked_for_and_never_once_it_is_paid_for(experiment, directory, waiting, tmp_path, capsys, call):
    config = tmp_path / "c.yaml"
    config.write_text(to_yaml(experiment))
    import_answers(experiment, [csv(tmp_path / "a.csv", f"{waiting[0]},class-1,labelled", f"{waiting[1]},,cannot_tell")])
    newer = csv(tmp_path / "b.csv", f"{waiting[0]},class-2,labelled", f"{waiting[1]},,cannot_tell")
    assert call("label", "import", "-c", str(config), newer) == 4
    told = capsys.readouterr()
    assert f"b.csv:2: pair_id {waiting[0]} is class-2 here, but was class-1 before; --replace takes the newer answer" in told.out
    assert call("label", "import", "-c", str(config), newer, "--replace") == 0
    assert "0 answers are new, 1 correct earlier ones, 1 were known, 0 lines hold none" in capsys.readouterr().out
    again = import_answers(experiment, [newer], correct=True)
    assert (again.num_new, again.num_corrected, again.num_same, again.status.num_answered) == (0, 0, 2, 2)
    last = csv(tmp_path / "c.csv", f"{waiting[1]},class-0,labelled", f"{waiting[2]},,labelled")
    found = import_answers(experiment, [last], correct=True)
    assert (found.num_new, found.num_corrected, found.status.num_bought) == (1, 1, 3)
    bought = [[0, 0, 1, 0, 0], [1, 0, 0, 0, 0], [0] * 5]
    assert restore(directory).ledger.labels.dense(waiting, num_classes=5).tolist() == bought
    too_late = csv(tmp_path / "d.csv", f"{waiting[1]},class-3,labelled")
    assert call("label", "import", "-c", str(config), too_late, "--replace") == 4
    assert "that is paid for, and a closed purchase is never changed" in capsys.readouterr().out
    assert restore(directory).ledger.labels.dense(waiting, num_classes=5).tolist() == bought


def test_nothing_is_replaced_where_a_run_begins_or_label_studio_keeps_the_answers(experiment, tmp_path):
    file = csv(tmp_path / "a.csv")
    with pytest.raises(ConfigError, match="give one of them"):
        import_answers(experiment, [file], as_seed=True, correct=True)
    content = {**experiment.model_dump(mode="json", exclude_unset=True), "annotator": {"kind": "label_studio"}}
    with pytest.raises(ConfigError, match="change the annotation in Label Studio"):
        import_answers(validate(content, where="test"), [file], correct=True)


def test_while_a_run_works_or_another_run_is_meant_nothing_is_taken(experiment, directory, waiting, tmp_path):
    file = csv(tmp_path / "a.csv", f"{waiting[0]},class-1,labelled")
    with exclusive(directory.path), pytest.raises(RunError, match="another process works here"):
        import_answers(experiment, [file])
    with pytest.raises(ConfigError, match=r"arm=None seed=1 means 0 runs; choose one of random-s0"):
        import_answers(experiment, [file], seed=1)
    (row,) = label_status(experiment)
    assert (row.num_answered, row.num_asked) == (0, 3)


def test_where_nothing_was_begun_nothing_is_taken(experiment, tmp_path):
    with pytest.raises(RunError, match="has not begun"):
        import_answers(experiment, [csv(tmp_path / "a.csv")])
    assert label_status(experiment) == []


def test_labels_from_elsewhere_come_in_as_coco_and_go_out_the_same_ways(experiment, directory, tmp_path):
    ids = open_corpus(experiment).pair_ids("train")[5:9].tolist()
    names = open_corpus(experiment).schema.class_names
    rows = [LabelRow(ids[0], (names[2],)), LabelRow(ids[1], ()), LabelRow(ids[2], None), LabelRow(ids[3], (names[0], names[4]))]
    file = tmp_path / "instances.json"
    file.write_bytes(write_rows(rows, form="coco", class_names=names))
    found = import_answers(experiment, [str(file)], as_seed=True)
    assert (found.num_new, found.status.num_bought, found.status.num_cannot_tell) == (4, 4, 1)
    assert directory.round(0).read_selection().pair_ids_n.tolist() == ids
    for form, name in (("csv", "o.csv"), ("jsonl", "o.jsonl"), ("coco", "o.json")):
        assert export_labels(experiment, str(tmp_path / name), form=form) == {"bought": 4, "predicted": 0}
        assert [(row.pair_id, row.labels) for row in read_rows((tmp_path / name).read_bytes(), name=name)] == [(r.pair_id, r.labels) for r in rows]
    other = csv(tmp_path / "other.csv", f"{open_corpus(experiment).pair_ids('train')[0]},class-1,labelled")
    with pytest.raises(LedgerError, match="4 labels are bought"):
        import_answers(experiment, [other], as_seed=True)


def test_labels_from_elsewhere_beyond_the_budget_are_refused(experiment, tmp_path):
    ids = open_corpus(experiment).pair_ids("train")[:13].tolist()
    with pytest.raises(LedgerError, match=r"13 labels were brought, but budget.total is 12"):
        import_answers(experiment, [csv(tmp_path / "a.csv", *(f"{i},class-1,labelled" for i in ids))], as_seed=True)
    assert label_status(experiment) == [], "the run is not begun: the budget can be raised as the message says"
    more = validate({**experiment.model_dump(mode="json", exclude_unset=True), "budget": {"total": 20, "seed_pairs": 3}}, where="test")
    assert import_answers(more, [str(tmp_path / "a.csv")], as_seed=True).status.num_bought == 13


def test_labels_go_out_of_a_run_that_has_begun_under_the_classes_it_was_asked_with(experiment, waiting, tmp_path):
    elsewhere = {"storage_path": str(tmp_path / "elsewhere")}
    with pytest.raises(RunError, match="has not begun, so it has no labels"):
        export_labels(validate({**experiment.model_dump(mode="json", exclude_unset=True), **elsewhere}, where="test"), "o.csv", form="csv")
    other = {"corpus": {"path": write_corpus(tmp_path / "other", truth=True, num_test=0)}}
    with pytest.raises(RunError, match="another configuration or corpus"):
        export_labels(validate({**experiment.model_dump(mode="json", exclude_unset=True), **other}, where="test"), "o.csv", form="csv")
    import_answers(experiment, [csv(tmp_path / "a.csv", f"{waiting[0]},class-1,labelled")])
    assert export_labels(experiment, str(tmp_path / "o.csv"), form="csv") == {"bought": 1, "predicted": 0}, "an answer counts before its receipt"
    assert [(row.pair_id, row.labels) for row in read_rows((tmp_path / "o.csv").read_bytes(), name="o.csv")] == [(waiting[0], ("class-1",))]


def begun(experiment):
    """Every run of an experiment asks for its seed pairs, the same ones; returns their ids."""
    corpus, folder = open_corpus(experiment), experiment_path(experiment)
    ids, runs = corpus.pair_ids("train")[ASKED], expand(experiment)
    for run in runs:
        directory = RunDirectory(storage.join(folder, run.run_id))
        directory.begin(to_yaml(run.experiment), run.fingerprint(corpus.fingerprint))
        directory.round(0).write_selection(Selection(ids, np.zeros(3)))
        people = annotator_of(run.experiment, corpus, directory, campaign="c", others=others_of(run, runs, corpus, folder))
        people.request(directory.round(0).read_selection(), folder=directory.round(0).path)
    return ids.tolist()


def with_arms(experiment, **content):
    arms = {"a": {}, "b": {"strategy": {"kind": "entropy"}}}
    return validate({**experiment.model_dump(mode="json", exclude_unset=True), "arms": arms, **content}, where="test")


def test_an_arm_asks_for_nothing_that_another_arm_asks_for_and_takes_over_its_answers(experiment, tmp_path, capsys, call):
    experiment = with_arms(experiment)
    ids = begun(experiment)
    first, second = label_status(experiment)
    assert (first.run, first.num_elsewhere, first.num_asked, first.place is None) == ("a-s0", 0, 3, False)
    assert (second.run, second.num_elsewhere, second.num_asked, second.place) == ("b-s0", 3, 3, None)
    config = tmp_path / "c.yaml"
    config.write_text(to_yaml(experiment))
    some = csv(tmp_path / "a.csv", f"{ids[0]},class-1,labelled", f"{ids[1]},,cannot_tell")
    assert call("label", "import", "-c", str(config), some, "--arm", "a") == 0
    assert call("label", "status", "-c", str(config)) == 0
    assert "elsewhere" in capsys.readouterr().out
    contradicts = csv(tmp_path / "b.csv", f"{ids[0]},class-2,labelled")
    found = import_answers(experiment, [contradicts], arm="b")
    assert found.problems == (f"{contradicts}:2: pair_id {ids[0]} is class-2 here, but was class-1 before; --replace takes the newer answer",)
    assert (found.status.num_answered, found.status.num_elsewhere) == (2, 1)
    last = csv(tmp_path / "c.csv", f"{ids[2]},class-4,labelled")
    assert import_answers(experiment, [last], arm="b").status.num_bought == 3, "who has the file may give it to either"
    assert import_answers(experiment, [csv(tmp_path / "none.csv")], arm="a").status.num_bought == 3
    paid = [restore(RunDirectory(storage.join(experiment_path(experiment), run))).ledger for run in ("a-s0", "b-s0")]
    assert [one.cannot_tell_n.tolist() for one in paid] == [[ids[1]]] * 2
    assert [one.labels.dense([ids[0], ids[2]], num_classes=5).tolist() for one in paid] == [[[0, 1, 0, 0, 0], [0, 0, 0, 0, 1]]] * 2


def test_runs_share_people_only_where_they_ask_the_same_ones_about_the_same_corpus(experiment, tmp_path):
    def others(experiment, corpus=None):
        runs = expand(experiment)
        found = others_of(runs[1], runs, corpus or open_corpus(experiment), experiment_path(experiment))
        return [[directory.path.rsplit("/", 1)[1] for directory in side] for side in (found.before, found.after)]

    two_seeds = with_arms(experiment, seeds=[0, 1])
    assert others(two_seeds) == [[], []], "nothing has begun"
    begun(two_seeds)
    assert others(two_seeds) == [["a-s0"], ["a-s1", "b-s1"]]
    assert others(with_arms(experiment, annotator={"kind": "oracle"})) == [[], []]
    server = {"a": {}, "b": {"annotator": {"kind": "label_studio"}}}
    assert others(with_arms(experiment, arms=server)) == [[], []], "other people"
    other = PairedCorpus.open(write_corpus(tmp_path / "other", truth=True, num_test=0))
    assert others(two_seeds, other) == [[], []], "other pairs under the same ids"


def test_another_corpus_of_the_same_name_is_another_campaign(experiment, tmp_path):
    corpus, other = open_corpus(experiment), PairedCorpus.open(write_corpus(tmp_path / "other", truth=True, num_test=0))
    (run,) = expand(experiment)
    assert campaign_of(run, corpus).startswith("people random-s0 ")
    assert campaign_of(run, corpus) == campaign_of(run, open_corpus(experiment))
    assert campaign_of(run, corpus) != campaign_of(run, other)


def test_the_verbs_do_the_same_from_the_command_line(experiment, waiting, tmp_path, capsys, call):
    config = tmp_path / "c.yaml"
    config.write_text(to_yaml(experiment))
    bad = csv(tmp_path / "bad.csv", f"{waiting[0]},class-9,labelled")
    assert call("label", "import", "-c", str(config), bad) == 4
    told = capsys.readouterr()
    assert "bad.csv:2: 'class-9' is no class" in told.out
    assert "1 problems, nothing was imported" in told.err
    good = csv(tmp_path / "good.csv", f"{waiting[0]},class-0,labelled")
    assert call("label", "import", "-c", str(config), good, "report.num_queries=2") == 0
    assert "1 answers are new" in capsys.readouterr().out
    assert call("label", "status", "-c", str(config), "--json") == 0
    row = json.loads(capsys.readouterr().out)["runs"][0]
    assert (row["run"], row["num_answered"], row["num_asked"], row["waiting_round"]) == ("random-s0", 1, 3, 0)
    assert row["place"].endswith("rounds/000/to_label/index.html")
    assert call("label", "status", "-c", str(config)) == 0
    assert "random-s0" in capsys.readouterr().out
    assert call("label", "export", "-c", str(config), str(tmp_path / "o.jsonl"), "--json") == 0
    assert json.loads(capsys.readouterr().out)["bought"] == 1
    assert call("label", "import", "-c", str(config), "a.b=1") == 2
    assert "no file with answers" in capsys.readouterr().err


def test_what_cannot_be_asked_or_measured_is_told_before_anything_starts(experiment, tmp_path):
    def refused(match, **changes):
        content = {**experiment.model_dump(mode="json", exclude_unset=True), **changes}
        with pytest.raises(ConfigError, match=match):
            run_experiment(validate(content, where="test"), on_round=lambda run, state: None)

    refused("annotator 'oracle' needs it; let people answer", annotator={"kind": "oracle"})
    refused("would ask people for every pair", full=True)
    refused("use cross_fit", training={"validation": "split"})


# ---- on Ray


def answer_all(experiment, truth, names, tmp_path):
    """What a team does between two calls of `run`: every open task gets its answer, in two files; returns the pairs it was asked for."""
    asked = []
    for row in label_status(experiment):
        if row.place is None:
            continue
        folder = RunDirectory(storage.join(experiment_path(experiment), row.run)).round(row.waiting_round).path
        ids = [json.loads(line)["pair_id"] for line in storage.read_bytes(storage.join(folder, "to_label", "tasks.jsonl")).splitlines()]
        rows = [LabelRow(i, tuple(names[c] for c in truth.take([i]).classes)) for i in ids]
        for part, name in ((rows[:7], "first.jsonl"), (rows[7:], "second.csv")):
            (tmp_path / name).write_bytes(write_rows(part, form=name.split(".")[1], class_names=names))
            import_answers(experiment, [str(tmp_path / name)], arm=row.arm, seed=row.seed)
        asked += ids
    return asked


def results_of(experiment, run="entropy-s0"):
    rounds = RunDirectory(storage.join(experiment_path(experiment), run)).rounds()
    return [(place.read_selection().pair_ids_n.tolist(), place.read_report()["retrieval"]) for place in rounds]


@pytest.mark.ray
def test_without_any_truth_three_rounds_of_files_equal_the_oracles_on_the_same_answers(session, quick, tmp_path, capsys, call):
    strategy = {"arms": {}, "strategy": {"kind": "entropy"}, "budget": {"total": 60, "seed_pairs": 30, "per_round": 15}}

    def experiment_of(name, **content):
        training = {"label_predictor": {"steps": 20}, "common_space": {"steps": 20}}
        return validate({**quick, **strategy, "training": training, "name": name, "storage_path": str(tmp_path), **content}, where="test")

    known = write_corpus(tmp_path / "known", truth=True, num_test=0)
    unknown = write_corpus(tmp_path / "unknown", truth=False, num_test=0)
    oracle = experiment_of("oracle", corpus={"path": known})
    run_experiment(oracle, on_round=lambda run, state: None)

    people = experiment_of("people", corpus={"path": unknown}, annotator={"kind": "files"})
    config = tmp_path / "c.yaml"
    config.write_text(to_yaml(people))
    truth, names = open_truth(open_corpus(oracle), "train"), open_corpus(oracle).schema.class_names
    for asked in (30, 15, 15):
        assert call("run", "-c", str(config)) == 7
        told = capsys.readouterr().out
        assert f"0 of {asked} have come" in told
        assert "to_label/index.html" in told
        answer_all(people, truth, names, tmp_path)
    assert call("run", "-c", str(config)) == 0
    assert "held out" in capsys.readouterr().out
    assert results_of(people) == results_of(oracle)

    last = RunDirectory(storage.join(experiment_path(people), "entropy-s0")).round(2)
    report = last.read_report()
    assert 2 < report["num_held_out"] < 30
    found = report["retrieval"]["prob"]["i2t"]
    assert (found["num_queries"], found["recall"]) == (report["num_held_out"], {})
    page = storage.read_bytes(storage.join(experiment_path(people), "report", "index.html")).decode()
    assert "The test split of this corpus has no truth</b>, and there are no test pairs" in page
    assert call("evaluate", "-c", str(config)) == 0
    assert "bought pairs held out" in capsys.readouterr().out
    assert call("score", "-c", str(config)) == 0
    assert export_labels(people, str(tmp_path / "all.csv"), form="csv") == {"bought": 60, "predicted": 240}


@pytest.mark.ray
def test_two_arms_ask_people_once_and_each_ends_as_with_the_oracle(session, quick, tmp_path, capsys, call):
    strategy = {"arms": {"random": {}, "entropy": {"strategy": {"kind": "entropy"}}}, "budget": {"total": 40, "seed_pairs": 30, "per_round": 10}}
    training = {"label_predictor": {"steps": 20}, "common_space": {"steps": 20}}

    def experiment_of(name, **content):
        return validate({**quick, **strategy, "training": training, "name": name, "storage_path": str(tmp_path), **content}, where="test")

    oracle = experiment_of("oracle", corpus={"path": write_corpus(tmp_path / "known", truth=True, num_test=0)})
    run_experiment(oracle, on_round=lambda run, state: None)
    people = experiment_of("people", corpus={"path": write_corpus(tmp_path / "unknown", truth=False, num_test=0)}, annotator={"kind": "files"})
    config = tmp_path / "c.yaml"
    config.write_text(to_yaml(people))
    truth, names = open_truth(open_corpus(oracle), "train"), open_corpus(oracle).schema.class_names
    assert call("run", "-c", str(config)) == 7
    assert "entropy-s0 waits for answers to round 0, 0 of 30 have come, for 30 another run asks\n" in capsys.readouterr().out
    asked = answer_all(people, truth, names, tmp_path)
    assert call("run", "-c", str(config)) == 7
    asked += answer_all(people, truth, names, tmp_path)
    assert call("run", "-c", str(config)) == 0
    assert len(asked) == len(set(asked)) <= 50
    for arm in ("random-s0", "entropy-s0"):
        assert results_of(people, arm) == results_of(oracle, arm)


@pytest.mark.ray
def test_a_test_split_without_truth_gives_own_pairs_and_the_share_that_is_asked_for_is_held_out(session, quick, tmp_path):
    path = write_corpus(tmp_path / "corpus", truth=True, num_test=70)
    content = {**quick, "arms": {}, "storage_path": str(tmp_path), "corpus": {"path": path}, "budget": {"total": 40, "seed_pairs": 40}}
    content["evaluation"] = {"held_out": 0.5}
    state = run_experiment(validate(content, where="test"), on_round=lambda run, state: None)["random-s0"]
    report = state.history[0]
    assert 10 < report["num_held_out"] < 30
    found = report["retrieval"]["prob"]["i2t"]
    assert (found["num_queries"], set(found["recall"])) == (report["num_held_out"], {1, 5, 10})
    assert 0 < report["retrieval"]["prob"]["map_mean"] <= 1
