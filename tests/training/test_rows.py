import numpy as np
import pytest
import torch

from xmr_ray.training.ranks import Ranks
from xmr_ray.training.rows import HeldRows, ResidentRows, StreamedRows, concatenate, endless, padding


def resident(corpus, rank=0, world=1, seed=5):
    return ResidentRows(corpus, ranks=Ranks(rank, world), seed=seed)


def features(corpus):
    batches = [corpus.read(descriptor) for descriptor in corpus.descriptors("train")]
    return {int(i): (x, t) for batch in batches for i, x, t in zip(batch.pair_ids_B, batch.images(), batch.texts(), strict=True)}


def assert_features(corpus, batches):
    truth = features(corpus)
    for batch in batches:
        for pair_id, image_I, text_T in zip(batch.pair_ids_B, batch.image_BI.numpy(), batch.text_BT.numpy(), strict=True):
            assert np.array_equal(image_I, truth[int(pair_id)][0])
            assert np.array_equal(text_T, truth[int(pair_id)][1])


def ids_of(batches):
    return sorted(int(i) for batch in batches for i in batch.pair_ids_B[batch.weight_B.numpy() > 0])


class TestResident:
    @pytest.mark.parametrize("world", [1, 2, 3, 5])
    @pytest.mark.parametrize("batch_size", [7, 100, 10_000])
    def test_every_row_once_an_epoch(self, tiny_corpus, world, batch_size):
        epochs = [list(resident(tiny_corpus, rank, world).epoch(3, batch_size)) for rank in range(world)]
        assert ids_of(batch for batches in epochs for batch in batches) == sorted(tiny_corpus.pair_ids("train").tolist())
        assert {len(batches) for batches in epochs} == {-(-600 // batch_size)}
        assert all(len(batch) for batches in epochs for batch in batches)

    @pytest.mark.parametrize("world", [2, 3, 8])
    def test_batches_hold_the_same_rows_for_any_number_of_ranks(self, tiny_corpus, world):
        whole = [ids_of([batch]) for batch in resident(tiny_corpus).epoch(1, 64)]
        parts = [list(resident(tiny_corpus, rank, world).epoch(1, 64)) for rank in range(world)]
        assert [ids_of(batches) for batches in zip(*parts, strict=True)] == whole

    def test_batches_are_nearly_equal(self, tiny_corpus):
        sizes = [len(batch) for batch in resident(tiny_corpus).epoch(0, 64)]
        assert max(sizes) - min(sizes) <= 8

    def test_features_go_with_their_ids(self, tiny_corpus):
        assert_features(tiny_corpus, resident(tiny_corpus).epoch(0, 100))
        assert_features(tiny_corpus, resident(tiny_corpus, 1, 2).blocks(50))

    def test_epochs_differ_and_repeat(self, tiny_corpus):
        def order(epoch, seed):
            return np.concatenate([batch.pair_ids_B for batch in resident(tiny_corpus, seed=seed).epoch(epoch, 64)]).tolist()

        assert order(0, 1) == order(0, 1)
        assert order(0, 1) != order(1, 1)
        assert order(0, 1) != order(0, 2)

    def test_positions_are_places_in_the_order_of_blocks(self, tiny_corpus):
        rows = resident(tiny_corpus, 1, 3)
        in_order = np.concatenate([block.pair_ids_B for block in rows.blocks(33)])
        for batch in rows.epoch(2, 64):
            assert np.array_equal(in_order[batch.positions_B.numpy()], batch.pair_ids_B)

    def test_a_rank_without_descriptors_gets_padding(self, tiny_corpus):
        world = len(tiny_corpus.descriptors("train")) + 1
        batches = list(resident(tiny_corpus, world - 1, world).epoch(0, 200))
        assert len(batches) == 3
        assert all(batch.weight_B.tolist() == [0.0] for batch in batches)
        assert list(resident(tiny_corpus, world - 1, world).blocks(10)) == []


class TestStreamed:
    def stream(self, corpus, descriptors=None, ranks=None, seed=5):
        chosen = corpus.descriptors("train") if descriptors is None else descriptors
        return StreamedRows(lambda epoch: iter(chosen), corpus.read, ranks=ranks or Ranks.single(), seed=seed)

    @pytest.mark.parametrize("batch_size", [7, 100, 10_000])
    def test_every_row_once_an_epoch(self, tiny_corpus, batch_size):
        batches = list(self.stream(tiny_corpus).epoch(0, batch_size))
        assert ids_of(batches) == sorted(tiny_corpus.pair_ids("train").tolist())
        assert [len(batch) for batch in batches[:-1]] == [batch_size] * (len(batches) - 1)
        assert_features(tiny_corpus, batches)

    def test_rows_are_shuffled_within_a_row_group_and_by_epoch(self, tiny_corpus):
        first = tiny_corpus.descriptors("train")[0]
        rows = self.stream(tiny_corpus, [first])
        one, two, again = (np.concatenate([batch.pair_ids_B for batch in rows.epoch(epoch, 16)]) for epoch in (0, 1, 0))
        assert sorted(one) == sorted(two) == sorted(tiny_corpus.read(first).pair_ids_B)
        assert not np.array_equal(one, two)
        assert np.array_equal(one, again)
        assert not np.array_equal(one, tiny_corpus.read(first).pair_ids_B)

    @pytest.mark.parametrize("share", [0, 3])
    def test_a_short_rank_brings_weight_zero_until_all_are_done(self, tiny_corpus, monkeypatch, share):
        """What the other rank says is played back: it has rows for five batches."""
        said = iter([24, 16] * 5 + [0, 0])
        monkeypatch.setattr(Ranks, "max", lambda self, value: max(value, next(said)))
        descriptors = tiny_corpus.descriptors("train")[:share]
        batches = list(self.stream(tiny_corpus, descriptors, Ranks(1, 2)).epoch(0, 128))
        own = sum(descriptor.num_rows for descriptor in descriptors)
        assert len(batches) == 5
        assert sum(float(batch.weight_B.sum()) for batch in batches) == own
        for batch in batches[-(-own // 64) :]:
            assert batch.weight_B.tolist() == [0.0]
            assert batch.image_BI.shape == (1, 24)
            assert batch.text_BT.shape == (1, 16)

    def test_what_the_reader_raises_is_raised(self, tiny_corpus):
        def broken(descriptor):
            raise OSError("no such disk")

        rows = StreamedRows(lambda epoch: iter(tiny_corpus.descriptors("train")), broken, ranks=Ranks.single(), seed=0)
        with pytest.raises(OSError, match="no such disk"):
            next(rows.epoch(0, 4))

    def test_rows_have_no_places(self, tiny_corpus):
        assert not self.stream(tiny_corpus).resident
        with pytest.raises(NotImplementedError):
            self.stream(tiny_corpus).blocks(3)


class TestHeld:
    def rows(self, num=23, rank=0, world=1):
        values = torch.arange(num).float()[:, None]
        return HeldRows(np.arange(num, dtype=np.int64) * 10, values, -values, ranks=Ranks(rank, world), seed=1)

    @pytest.mark.parametrize("world", [1, 2, 4])
    @pytest.mark.parametrize("batch_size", [1, 5, 100])
    def test_every_row_once_and_the_same_batches_for_any_number_of_ranks(self, world, batch_size):
        parts = [list(self.rows(rank=rank, world=world).epoch(2, batch_size)) for rank in range(world)]
        whole = [ids_of([batch]) for batch in self.rows().epoch(2, batch_size)]
        assert [ids_of(batches) for batches in zip(*parts, strict=True)] == whole
        assert sorted(pair_id for ids in whole for pair_id in ids) == [i * 10 for i in range(23)]
        assert all(len(batch) for batches in parts for batch in batches)

    def test_batches_are_nearly_equal(self):
        assert [len(batch) for batch in self.rows(num=257).epoch(0, 256)] == [129, 128]

    def test_a_subset_keeps_rows_together(self):
        part = self.rows().subset(torch.tensor([4, 2]))
        assert part.pair_ids_N.tolist() == [40, 20]
        assert part.image_NI[:, 0].tolist() == [4.0, 2.0]
        assert part.text_NT[:, 0].tolist() == [-4.0, -2.0]


def test_padding_has_weight_zero_and_an_id_that_no_pair_has():
    one = padding(3, 2)
    assert one.weight_B.tolist() == [0.0]
    assert one.pair_ids_B.tolist() == [-1]
    joined = concatenate([one, padding(3, 2)])
    assert joined.image_BI.shape == (2, 3)
    assert joined.text_BT.shape == (2, 2)


def test_endless_goes_on_with_the_next_epoch():
    rows = HeldRows(np.arange(10), torch.zeros(10, 2), torch.zeros(10, 2), ranks=Ranks.single(), seed=3)
    batches = endless(rows, 6)
    first, second = ([next(batches).pair_ids_B.tolist() for _ in range(2)] for _ in range(2))
    assert sorted(first[0] + first[1]) == sorted(second[0] + second[1]) == list(range(10))
    assert first != second
