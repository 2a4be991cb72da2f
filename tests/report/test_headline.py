import pytest

from xmr_ray.report.arms import summarise_arms
from xmr_ray.report.experiment import read_experiment
from xmr_ray.report.headline import headline, labels_needed
from xmr_ray.report.settings import ReportSettings


def told(path, settings=None):
    settings = settings or ReportSettings()
    return headline(summarise_arms(read_experiment(str(path)), settings), settings)


def test_several_arms_and_seeds(tmp_path, make):
    for seed, shift in enumerate((0.0, 0.01, 0.02)):
        make.run(tmp_path, "random", seed, [(50, 0.4 + shift, 0.4 + shift), (100, 0.6 + shift, 0.6 + shift)])
        make.run(tmp_path, "entropy", seed, [(50, 0.4 + shift, 0.4 + shift), (100, 0.7 + shift, 0.7 + shift)])
    make.run(tmp_path, "full", 0, [(1000, 0.75, 0.75)])
    sentences = told(tmp_path)
    assert sentences[0] == (
        "With 100 of 1,000 labels, “entropy” reaches a mAP of 0.710: 95 % of what the same networks reach with every label (0.750)."
    )
    assert sentences[1] == "“random” reaches 0.610 with 100 labels (81 %)."
    assert sentences[2].startswith(
        "At 100 labels, “entropy” against “random” is +0.100, 95 % interval +0.100 to +0.100 over 3 seeds: zero lies outside"
    )
    target = 0.9 * 0.75
    needed = [50 + 50 * (target - 0.4 - shift) / 0.3 for shift in (0.0, 0.01, 0.02)]
    assert sentences[3].startswith(f"Labels needed for 90 % of full supervision: “entropy” {sum(needed) / 3:.0f} ± ")
    assert sentences[3].endswith("“random” not reached.")


def test_a_difference_within_chance_is_called_so(tmp_path, make):
    for seed, gain in enumerate((0.05, -0.04, 0.01)):
        make.run(tmp_path, "random", seed, [(100, 0.6, 0.6)])
        make.run(tmp_path, "entropy", seed, [(100, 0.6 + gain, 0.6 + gain)])
    assert any("over 3 seeds: zero lies inside, so this may be chance." in sentence for sentence in told(tmp_path))


def test_one_seed_and_no_full_supervision(tmp_path, make):
    make.run(tmp_path, "random", 0, [(100, 0.5, 0.5)])
    make.run(tmp_path, "entropy", 0, [(100, 0.6, 0.6)])
    sentences = told(tmp_path)
    assert sentences[0] == "With 100 labels bought, “entropy” reaches a mAP of 0.600. There is no run with every label to compare with yet."
    assert sentences[-1] == "At 100 labels, “entropy” against “random” is +0.100 in one seed: no interval, so this may be chance."


def test_full_supervision_alone(tmp_path, make):
    make.run(tmp_path, "full", 0, [(1000, 0.7, 0.8)])
    assert told(tmp_path) == ["With every label (1,000), mAP is 0.750; no arm that buys labels has finished a round yet."]


@pytest.mark.parametrize(("first", "text"), [(0.69, "≤ 50"), (0.1, "not reached")])
def test_labels_needed(tmp_path, make, first, text):
    make.run(tmp_path, "random", 0, [(50, first, first)])
    make.run(tmp_path, "full", 0, [(1000, 0.7, 0.7)])
    assert labels_needed(summarise_arms(read_experiment(str(tmp_path)), ReportSettings())[0].reached[0]) == text
