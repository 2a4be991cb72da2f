import numpy as np
import pytest
import torch
from torch.nn import functional

from xmr_ray.errors import CheckpointError
from xmr_ray.losses import Pairing, Pairwise, SpaceRows, SupCon
from xmr_ray.networks import NetworkDims
from xmr_ray.training.common_space import CommonSpaceSettings, SpaceFit, SpaceHooks, SpaceTerm, space_terms
from xmr_ray.training.label_predictor import FitContext
from xmr_ray.training.predicted import Known
from xmr_ray.training.ranks import Ranks
from xmr_ray.training.rows import HeldRows

pytestmark = pytest.mark.slow  # networks are trained


def silent(numbers):
    return None


@pytest.fixture
def context(tiny_corpus):
    dims = NetworkDims(image_dim=24, text_dim=16, num_classes=5, multi_label=True)
    return FitContext(dims, tiny_corpus.statistics(), Ranks.single(), torch.device("cpu"), "f32", 0, 0)


@pytest.fixture
def rows():
    rng = torch.Generator().manual_seed(0)
    return HeldRows(np.arange(90), torch.randn(90, 24, generator=rng), torch.randn(90, 16, generator=rng), ranks=Ranks.single(), seed=0)


@pytest.fixture
def targets():
    return Known((torch.rand(90, 5, generator=torch.Generator().manual_seed(1)) < 0.3).float())


@pytest.fixture
def space(quick, context):
    return lambda **changes: SpaceFit(quick(common_space=changes).common_space, context, num_rows=90)


@pytest.mark.parametrize(("num_rows", "expected"), [(10, 80), (256, 4), (257, 4), (100_000, 2)])
def test_steps_become_whole_epochs(num_rows, expected):
    settings = CommonSpaceSettings(steps=4, batch_size=200, min_epochs=2)
    assert settings.num_epochs(num_rows) == expected


def test_every_epoch_is_told_and_the_loss_falls(space, rows, targets):
    told = []
    fit = space(steps=60)
    network = fit.run(rows, targets, SpaceHooks(told.append))
    assert [numbers["epoch"] for numbers in told] == list(range(1, fit.num_epochs + 1))
    assert fit.epochs_run == fit.num_epochs
    assert told[-1]["loss"] < 0.8 * told[0]["loss"]
    assert not network.training


@pytest.mark.parametrize("stop", [1, 7])
def test_a_restored_fit_ends_with_the_same_weights(space, rows, targets, stop):
    whole = space().run(rows, targets, SpaceHooks(silent))
    states = []
    space().run(rows, targets, SpaceHooks(silent, states.append, stop))
    resumed = space()
    resumed.restore(states[0])
    told = []
    found = resumed.run(rows, targets, SpaceHooks(told.append)).state_dict()
    assert told[0]["epoch"] == stop + 1
    assert all(torch.equal(found[name], value) for name, value in whole.state_dict().items())


def test_states_hold_plain_values_and_tensors(space, rows, targets, tmp_path):
    states = []
    space().run(rows, targets, SpaceHooks(silent, states.append, 5))
    torch.save(states[0], tmp_path / "state.pt")
    assert torch.load(tmp_path / "state.pt", weights_only=True)["epoch"] == 5


def test_the_last_epoch_needs_no_state(space, rows, targets):
    states = []
    fit = space()
    fit.run(rows, targets, SpaceHooks(silent, states.append, fit.num_epochs))
    assert states == []


def test_validation_keeps_the_best_weights_and_patience_ends_the_fit(space, rows, targets):
    figures, seen = iter([0.1, 0.9, 0.3, 0.2, 0.8, 0.7, 0.6, 0.5]), []

    def validate(network):
        assert not network.training
        seen.append({name: value.clone() for name, value in network.state_dict().items()})
        return next(figures)

    fit = space(steps=60, checks=8, patience=3)
    found = fit.run(rows, targets, SpaceHooks(silent, validate=validate)).state_dict()
    assert len(seen) == 5
    assert fit.epochs_run < fit.num_epochs
    assert all(torch.equal(found[name], value) for name, value in seen[1].items())


def test_without_patience_every_check_is_made(space, rows, targets):
    figures = iter([0.9, *[0.1] * 50])
    fit = space(patience=None, checks=6)
    fit.run(rows, targets, SpaceHooks(silent, validate=lambda network: next(figures)))
    assert fit.epochs_run == fit.num_epochs


def test_padding_rows_change_nothing(space, rows, targets, context):
    class Padded:
        resident = True

        def epoch(self, epoch, batch_size):
            for batch in rows.epoch(epoch, batch_size):
                extra = torch.tensor([0, 3])
                ids, at = np.concatenate([batch.pair_ids_B, [0, 3]]), torch.cat([batch.positions_B, extra])
                images, texts = (torch.cat([part, torch.full((2, part.shape[1]), 3.0)]) for part in (batch.image_BI, batch.text_BT))
                yield type(batch)(ids, images, texts, torch.cat([batch.weight_B, torch.zeros(2)]), at)

    settings = {"network": {"hidden": 16, "common": 8, "dropout": 0.0, "input_dropout": 0.0, "embedding_gradient": 1.0}}
    one = space(**settings).run(rows, targets, SpaceHooks(silent)).state_dict()
    other = space(**settings).run(Padded(), targets, SpaceHooks(silent)).state_dict()
    for name, value in one.items():
        torch.testing.assert_close(other[name], value, atol=1e-4, rtol=0)


def test_space_terms_are_the_configured_losses():
    rng = torch.Generator().manual_seed(0)
    image, text = torch.nn.functional.normalize(torch.randn(2, 6, 4, generator=rng), dim=2)
    rows = SpaceRows(image, text, torch.rand(6, 3, generator=rng), torch.ones(6, 3), torch.ones(6), True)
    terms = tuple(SpaceTerm(loss=loss, weight=i + 1.0) for i, loss in enumerate((Pairwise(), Pairing(), SupCon())))
    found = space_terms(terms, rows, Ranks.single())
    assert [weight for weight, _ in found] == [1.0, 2.0, 3.0]
    for (_, sums), term in zip(found, terms, strict=True):
        assert torch.equal(sums.total, term.loss.sums(rows, rows).total)


@pytest.mark.parametrize("classifier", ["own", "shared"])
@pytest.mark.parametrize("adversarial", [0.0, 0.1])
def test_every_weight_learns(space, rows, targets, classifier, adversarial):
    fit = space(network={"hidden": 16, "common": 8, "classifier": classifier, "adversarial_weight": adversarial})
    before = {name: value.clone() for name, value in fit.network.named_parameters()}
    fit.run(rows, targets, SpaceHooks(silent))
    assert [name for name, value in fit.network.named_parameters() if torch.equal(value, before[name])] == []


def j1_by_hand(loss, logits, targets):
    if loss == "mse":
        return (logits.sigmoid() - targets).square().sum(dim=1).mean()
    if loss == "row_norm":
        return (logits - targets).square().sum(dim=1).sqrt().mean()
    return functional.binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(dim=1).mean()


@pytest.mark.parametrize("loss", ["masked_bce", "mse", "row_norm"])
@pytest.mark.parametrize("adversarial", [0.0, 0.3])
def test_the_loss_is_the_sum_of_its_terms(space, rows, targets, loss, adversarial):
    network = {"hidden": 16, "common": 8, "dropout": 0.0, "input_dropout": 0.0, "adversarial_weight": adversarial}
    fit = space(network=network, loss={"kind": loss}, space_losses=[{"loss": {"kind": "pairing"}, "weight": 0.2}], steps=1, batch_size=90)
    with torch.no_grad():
        found, labels = fit.network(rows.image_NI, rows.text_NT), targets(rows.take(torch.arange(90))).targets_BC
        expected = sum(j1_by_hand(loss, logits, labels) for logits in found[2:6]) + 0.2 * (found[0] - found[1]).norm(dim=1).mean()
        if adversarial:
            image, text = (fit.network.adversary(part)[:, 0].sigmoid() for part in found[:2])
            expected -= adversarial * torch.cat([image.log(), (1 - text).log()]).mean()
    told = []
    fit.run(rows, targets, SpaceHooks(told.append))
    assert [numbers["loss"] for numbers in told] == pytest.approx([expected.item()], rel=1e-5)


def test_a_warm_fit_starts_from_the_weights_before(space, quick, context, rows, targets):
    before = space().run(rows, targets, SpaceHooks(silent))
    settings = quick(common_space={"learning_rate": 1e-9}).common_space
    warm = SpaceFit(settings, context, num_rows=90, previous=before).run(rows, targets, SpaceHooks(silent))
    cold = SpaceFit(settings, context, num_rows=90).run(rows, targets, SpaceHooks(silent))
    for name, value in before.state_dict().items():
        torch.testing.assert_close(warm.state_dict()[name], value, atol=1e-6, rtol=0)
    assert not torch.allclose(cold.state_dict()["shared.weight"], before.state_dict()["shared.weight"], atol=1e-2)


def test_previous_weights_that_do_not_fit_are_refused(space, quick, context, rows):
    settings = quick(common_space={"network": {"common": 9}}).common_space
    with pytest.raises(CheckpointError, match=r"(?s)do not fit.*training\.warm_start"):
        SpaceFit(settings, context, num_rows=90, previous=space().network)
