"""Counts as people have them, hundreds beside zeros: the encoder reads their log1p, the likelihood the counts."""

import json

import numpy as np
import pytest
import torch
from helpers import weights
from torch import nn

import reparam as rp
from reparam.experiment.build import build_model
from reparam.expressions import describe, parse

COUNTS = torch.poisson(torch.distributions.Gamma(0.3, 0.3 / 300).sample((200, 30)))


def of_counts(*first):
    latent, counts = rp.Gaussian(3), rp.NegativeBinomial(30)
    encoder = nn.Sequential(*first, rp.mlp(30, [16], latent.num_params))
    return rp.VAE(latent, counts, encoder, rp.mlp(3, [16], counts.num_params))


def test_a_model_of_counts_trains_behind_log1p_and_not_without():
    torch.manual_seed(1)
    first, *_, last = rp.fit(of_counts(rp.Log1p()), rp.Pathwise(), COUNTS, epochs=5, batch_size=20)
    assert last.loss < first.loss
    with pytest.raises(rp.TrainingDiverged, match="log1p"):
        rp.fit(of_counts(), rp.Pathwise(), COUNTS, epochs=5, batch_size=20)


def test_the_likelihood_scores_the_counts_themselves():
    model, x = of_counts(rp.Log1p()), COUNTS[:7]
    inner = rp.VAE(model.latent, model.observation, model.encoder[1], model.decoder)
    z = model.latent(torch.zeros(7, 6)).sample((2,))
    assert torch.equal(model.posterior(x).base_dist.loc, inner.posterior(x.log1p()).base_dist.loc)
    assert torch.equal(model.likelihood(z).log_prob(x), inner.likelihood(z).log_prob(x))


def test_an_encoder_behind_log1p_is_text_and_its_width_is_checked():
    model = of_counts(rp.Log1p())
    assert describe(model).startswith("VAE(Gaussian(3), NegativeBinomial(30), Sequential(Log1p(), mlp(30, [16], 6))")
    assert describe(parse(describe(model))) == describe(model)
    with pytest.raises(ValueError, match="encoder begins with 29 inputs and gets 30"):
        rp.VAE(model.latent, model.observation, nn.Sequential(rp.Log1p(), nn.Linear(29, 6)), model.decoder)


def counted(**options):
    return rp.presets["gaussian"].replace(
        latent="Gaussian(3)", observation="NegativeBinomial", hidden=(16,), protocol="as given", **options
    )


def test_the_option_puts_log1p_before_the_encoder_and_changes_nothing_else():
    models = []
    for encoder_input in ("x", "log1p"):
        torch.manual_seed(0)
        models.append(build_model(counted(encoder_input=encoder_input), rp.Data(COUNTS)))
    plain, logged = models
    assert isinstance(logged.encoder[0], rp.Log1p)
    assert torch.equal(weights(plain), weights(logged))
    with pytest.raises(ValueError, match="encoder_input is log1p, and the data hold -1;"):
        build_model(counted(encoder_input="log1p"), rp.Data(COUNTS - 1))


def test_experiments_from_before_an_option_have_its_default():
    values = counted().to_values()
    del values["model"]["encoder_input"], values["training"]["drop_last"]
    assert rp.Experiment.from_values(values) == counted()


def test_a_training_of_counts_from_the_presets(tmp_path):
    np.save(tmp_path / "counts.npy", COUNTS.numpy())
    options = {"data": str(tmp_path / "counts.npy"), "encoder_input": "log1p", "epochs": 2, "batch_size": 64}
    summary = rp.train(counted(**options, drop_last=True), tmp_path / "run")
    assert summary["steps"] == 2 * (180 // 64), "a tenth of the examples is kept for the test"
    assert np.isfinite(summary["test"]["elbo"]["value"])
    assert "Log1p()" in json.loads((tmp_path / "run/experiment.json").read_text())["model"]
