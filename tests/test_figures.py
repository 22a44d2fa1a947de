"""Pictures: the right pixels in the right place."""

import numpy as np
import pytest
import torch
from helpers import small_vae
from PIL import Image

import reparam as rp


def test_a_grid_puts_images_row_by_row(tmp_path):
    images = torch.arange(6.0)[:, None].expand(6, 4) / 5
    path = rp.save_image_grid(tmp_path / "made" / "grid.png", images, columns=3)
    pixels = np.asarray(Image.open(path))
    assert pixels.shape == (4, 6)
    assert pixels[::2, ::2].tolist() == [[0, 51, 102], [153, 204, 255]]


@pytest.mark.parametrize(
    ("shape", "size"), [((5, 1, 3, 4), (9, 8)), ((5, 3, 4), (9, 8)), ((5, 3, 3, 4), (9, 8, 3)), ((5, 9), (9, 6))]
)
def test_every_shape_of_images(tmp_path, shape, size):
    images = torch.rand(shape) * 3 - 1
    pixels = np.asarray(Image.open(rp.save_image_grid(tmp_path / "grid.png", images, columns=2)))
    assert pixels.shape == size
    assert pixels[-1, -1].sum() == 0  # the empty place is black
    assert {pixels.min(), pixels.max()} == {0, 255}


def test_bytes_keep_their_levels(tmp_path):
    images = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16)
    pixels = np.asarray(Image.open(rp.save_image_grid(tmp_path / "grid.png", images)))
    assert np.array_equal(pixels, images[0].numpy())


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (torch.rand(3, 7), ValueError, r"images have shape \(3, 7\); expected"),
        (torch.rand(0, 9), ValueError, r"images have shape \(0, 9\)"),
        (torch.rand(2, 2, 3, 3), ValueError, "1 or 3"),
        (torch.full((1, 4), torch.nan), ValueError, "images hold NaN or Inf"),
        (torch.ones(1, 4, dtype=torch.int64), TypeError, "images are torch.int64"),
        (np.ones((1, 4)), TypeError, "images is a ndarray"),
    ],
)
def test_refusals(tmp_path, images, error, message):
    with pytest.raises(error, match=message):
        rp.save_image_grid(tmp_path / "grid.png", images)
    with pytest.raises(ValueError, match="pictures are PNG files"):
        rp.save_image_grid(tmp_path / "grid.jpg", torch.rand(1, 4))
    assert not list(tmp_path.iterdir())


def test_samples_of_a_discrete_model_come_from_hard_latents():
    model = rp.VAE(rp.Bernoulli(2), rp.Bernoulli(4), rp.mlp(4, [], 2), rp.mlp(2, [], 4))
    assert len(rp.sample(model, 500).round(decimals=5).unique(dim=0)) == 4
    assert len(rp.reconstruct(model, torch.rand(500, 4)).round(decimals=5).unique(dim=0)) == 4


def test_a_likelihood_without_a_mean_is_drawn_from_instead():
    model = small_vae(rp.Gaussian(2), observation=rp.LogisticNormal((), 4))
    with pytest.raises(ValueError, match="LogisticNormal has no mean in closed form"):
        rp.sample(model, 3)
