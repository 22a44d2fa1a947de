"""Where the channels of stored images are: found where it is clear, asked for where it is not."""

import numpy as np
import pytest
import torch

from reparam.data import load_data, readers

RANDOM = np.random.default_rng(0)


def pixels(*event):
    return RANDOM.integers(0, 256, (10, *event), np.uint8)


def loaded(tmp_path, values, shape="image"):
    np.save(tmp_path / "x.npy", values)
    return load_data(tmp_path / "x.npy", shape=shape).train.values.numpy()


@pytest.mark.parametrize("event", [(28, 28, 4), (28, 28, 1), (32, 20, 3), (4, 4, 1), (64, 64, 10), (2, 2, 3)])
def test_channels_that_are_stored_last_come_first(tmp_path, event):
    values = pixels(*event)
    assert np.array_equal(loaded(tmp_path, values), values[:9].transpose(0, 3, 1, 2))


@pytest.mark.parametrize("event", [(3, 28, 28), (1, 5, 7), (10, 64, 64), (3, 4, 4), (4, 20, 30)])
def test_channels_that_are_stored_first_stay(tmp_path, event):
    values = pixels(*event)
    assert np.array_equal(loaded(tmp_path, values), values[:9])


@pytest.mark.parametrize("event", [(28, 28, 28), (3, 3, 3), (10, 20, 30), (1, 28, 1), (3, 32, 1)])
def test_where_nothing_tells_the_shape_is_asked_for(tmp_path, event):
    values = pixels(*event)
    first, last = event, (event[2], *event[:2])
    with pytest.raises(ValueError, match=r"not clear which axis has the channels\. Say it by shape=.*\(--shape"):
        loaded(tmp_path, values)
    assert np.array_equal(loaded(tmp_path, values, first), values[:9])
    if last != first:
        assert np.array_equal(loaded(tmp_path, values, last), values[:9].transpose(0, 3, 1, 2))
    assert np.array_equal(loaded(tmp_path, values, None), values[:9].reshape(9, -1))


def test_a_shape_moves_channels_and_never_scrambles_pixels(tmp_path):
    values = pixels(32, 20, 3)
    assert np.array_equal(loaded(tmp_path, values, (3, 32, 20)), values[:9].transpose(0, 3, 1, 2))
    assert np.array_equal(loaded(tmp_path, values, (32, 20, 3)), values[:9])
    for wrong in ((3, 20, 32), (20, 32, 3), (20, 3, 32)):
        with pytest.raises(
            ValueError, match=r"of shape \(32, 20, 3\), which are not reordered in that way. Give \(3, 32, 20\)"
        ):
            loaded(tmp_path, values, wrong)
    assert loaded(tmp_path, pixels(12), (3, 2, 2)).shape == (9, 3, 2, 2)
    assert loaded(tmp_path, pixels(4, 3), (1, 4, 3)).shape == (9, 1, 4, 3)


def test_a_mapped_file_is_not_copied_for_that(tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "MAPPED_ABOVE", 0)
    values = pixels(8, 8, 3)
    np.save(tmp_path / "x.npy", values)
    data = load_data(tmp_path / "x.npy", shape="image").train
    assert data.mapped
    assert not data.values.is_contiguous()
    expected = torch.tensor(values.transpose(0, 3, 1, 2)).float() / 255
    torch.testing.assert_close(data[torch.tensor([3, 1])], expected[[3, 1]])
    torch.testing.assert_close(torch.cat(list(data.batches(4))), expected[:9])
