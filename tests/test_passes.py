"""Passes over data: in memory and in a mapped file, from the middle on, and shared by several processes."""

import math
from itertools import chain, pairwise

import numpy as np
import pytest
import torch

import reparam as rp
from reparam.data import passes


def numbered(n):
    return rp.Data(torch.arange(float(n))[:, None])


def mapped(path, n, columns=4):
    """Row i holds i."""
    np.save(path, np.arange(n, dtype=np.float32)[:, None].repeat(columns, 1))
    return rp.Data(torch.from_numpy(np.load(path, mmap_mode="c")), mapped=True)


@pytest.fixture
def small_windows(monkeypatch):
    """Blocks of 16 rows of 4 float32, windows of 4 blocks."""
    monkeypatch.setattr(passes, "BLOCK_BYTES", 16 * 16)
    monkeypatch.setattr(passes, "BLOCKS_IN_WINDOW", 4)


def visited(batches, order=None):
    return [x[:, 0].int().tolist() for x in (batches if order is None else batches.over(order))]


def test_data_in_memory_keep_the_order_they_always_had():
    torch.manual_seed(7)
    found = visited(numbered(10).batches(4, shuffle=True))
    torch.manual_seed(7)
    assert found == [index.tolist() for index in torch.randperm(10).split(4)]
    assert visited(numbered(10).batches(4)) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("in_file", [False, True])
@pytest.mark.parametrize("n", [200, 192, 63, 5])
def test_the_rest_of_a_pass_is_what_the_whole_pass_ends_with(tmp_path, small_windows, in_file, shuffle, n):
    data = mapped(tmp_path / "x.npy", n) if in_file else numbered(n)
    batches = data.batches(10, shuffle=shuffle)
    order = batches.order()
    before = torch.get_rng_state()
    everything = visited(batches, order)
    assert sorted(chain.from_iterable(everything)) == list(range(n))
    assert [len(rows) for rows in everything] == [batches.rows(k) for k in range(len(batches))]
    assert len(batches) == math.ceil(n / 10)
    assert batches.rows(len(batches)) == 0
    for k in range(len(batches) + 2):
        rest = batches.starting_at(k)
        assert visited(rest, order) == everything[k:]
        assert len(rest) == len(everything[k:])
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("in_file", [False, True])
def test_the_rows_before_a_resumed_batch_are_not_read(tmp_path, small_windows, monkeypatch, in_file):
    data = mapped(tmp_path / "x.npy", 200) if in_file else numbered(200)
    batches = data.batches(10, shuffle=True).starting_at(18)
    read = []
    take = rp.Data.__getitem__
    monkeypatch.setattr(rp.Data, "__getitem__", lambda self, index: read.append(len(index)) or take(self, index))
    assert len(visited(batches)) == 2
    assert sum(read) == 20


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("in_file", [False, True])
@pytest.mark.parametrize("world", [1, 2, 3])
def test_the_shares_of_a_batch_are_the_batch(tmp_path, small_windows, in_file, shuffle, world):
    data = mapped(tmp_path / "x.npy", 193) if in_file else numbered(193)
    batches = data.batches(10, shuffle=shuffle)
    order = batches.order()
    shares = [visited(batches.share(rank, world).starting_at(3), order) for rank in range(world)]
    joined = [list(chain.from_iterable(parts)) for parts in zip(*shares, strict=True)]
    assert joined == visited(batches, order)[3:]
    for parts in zip(*shares, strict=True):
        sizes = [len(part) for part in parts]
        assert max(sizes) - min(sizes) <= 1
        assert min(sizes) >= 1


def test_a_mean_over_a_batch_is_the_weighted_mean_over_its_shares():
    batches = numbered(193).batches(10)
    shares = [list(batches.share(rank, 3)) for rank in range(3)]
    for k, x in enumerate(batches):
        means = [share[k].mean() * len(share[k]) * 3 / batches.rows(k) for share in shares]
        assert torch.stack(means).mean().item() == pytest.approx(x.mean().item())


def test_an_order_repeats_from_its_random_state_and_changes_from_pass_to_pass(tmp_path, small_windows):
    for data in (numbered(200), mapped(tmp_path / "x.npy", 200)):
        batches = data.batches(10, shuffle=True)
        state = torch.get_rng_state()
        first, second = visited(batches), visited(batches)
        assert first != second
        torch.set_rng_state(state)
        assert visited(batches) == first


def test_a_mapped_file_is_shuffled_in_windows_of_whole_blocks(tmp_path, small_windows):
    data = mapped(tmp_path / "x.npy", 330)
    rows = torch.tensor(list(chain.from_iterable(visited(data.batches(7, shuffle=True)))))
    blocks = rows // 16
    short = 16 - 330 % 16
    for window in (blocks[: 64 - short], blocks[64 : 128 - short], blocks[128 : 192 - short]):
        assert len(window.unique()) <= 5  # 4, or a neighbour's where the short last block came before
    firsts = [torch.tensor(visited(data.batches(64, shuffle=True))[0]) for _ in range(40)]
    assert torch.stack(firsts).float().mean().item() == pytest.approx(165, abs=30)  # blocks from everywhere
    assert sum((later - earlier) == 1 for row in firsts for earlier, later in pairwise(row)) < 80


def test_every_window_has_a_permutation_of_its_own(tmp_path, small_windows):
    rows = torch.tensor(visited(mapped(tmp_path / "x.npy", 128).batches(64, shuffle=True)))
    assert not torch.equal(rows[0] % 16, rows[1] % 16)


def test_a_file_of_one_window_is_permuted_evenly(tmp_path):
    data = mapped(tmp_path / "x.npy", 6)
    places = torch.zeros(6, 6)
    for _ in range(3000):
        places[torch.arange(6), list(chain.from_iterable(visited(data.batches(6, shuffle=True))))] += 1
    assert ((places - 500).abs() < 5 * (500 * 5 / 6) ** 0.5).all()


def test_an_order_of_other_data_is_refused(tmp_path, small_windows):
    order = numbered(9).batches(3, shuffle=True).order()
    for other in (numbered(10), mapped(tmp_path / "x.npy", 200)):
        with pytest.raises(ValueError, match=r"order has shape \(9,\); that of these data has \(1[04],\)"):
            list(other.batches(3, shuffle=True).over(order))
    with pytest.raises(ValueError, match=r"that of these data has \(0,\)"):
        list(numbered(9).batches(3).over(order))


def test_shares_that_cannot_be_had_are_refused():
    with pytest.raises(ValueError, match="rank is 2 of 2; ranks are counted from 0"):
        numbered(9).batches(3).share(2, 2)
    with pytest.raises(ValueError, match=r"fewer examples than the 2 processes.* Such a batch size is 3"):
        numbered(9).batches(4).share(0, 2)
    with pytest.raises(ValueError, match="Use fewer processes"):
        numbered(9).batches(4).share(0, 10)
    with pytest.raises(ValueError, match="number is -1"):
        numbered(9).batches(4).starting_at(-1)


def test_dynamic_bits_go_on_where_a_pass_was_left(tmp_path):
    data = rp.Data(torch.full((50, 8), 0.5), "dynamic")
    batches = data.batches(10, shuffle=True)
    start = torch.get_rng_state()
    whole = []
    for k, x in enumerate(batches):
        whole.append(x)
        if k == 1:
            left = torch.get_rng_state()
    torch.set_rng_state(start)
    order = batches.order()
    torch.set_rng_state(left)
    for again, x in zip(batches.starting_at(2).over(order), whole[2:], strict=True):
        assert torch.equal(again, x)
