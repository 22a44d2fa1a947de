"""The laboratory finds the bias, variance and cost that were put in."""

import copy
import csv
import itertools
import math
import re

import pytest
import torch
from helpers import small_vae
from torch import nn

import reparam as rp
from reparam.catalogue import ENTRIES
from reparam.estimators.estimate import Scheduled
from reparam.laboratory.lab import parameters_of
from reparam.laboratory.meter import flat


class Known:
    """The exact gradient plus a fixed vector and normal noise, on every coordinate of the model's parameters."""

    def __init__(self, model, bias, noise):
        self.model, self.bias, self.noise = model, bias, noise

    def at(self, step):
        return self

    def __call__(self, model, x):
        estimate = rp.Enumerate()(model, x)
        extra = sum(((self.bias + self.noise * torch.randn_like(p)) * p).sum() for p in self.model.parameters())
        return rp.Estimate(estimate.loss + extra - extra.detach(), estimate.bound, "elbo")


def test_known_bias_and_variance_are_found_within_their_errors(float64):
    model, x = small_vae(rp.Bernoulli(3)), torch.rand(5, 6)
    size = sum(p.numel() for p in model.parameters())
    parts = torch.autograd.grad(rp.Enumerate()(model, x).loss, list(model.parameters()))
    unit = flat(parts, list(model.parameters())).norm().item()
    known = {"biased": Known(model, 0.05, 0.1), "unbiased": Known(model, 0.0, 0.1), "exact": rp.Enumerate()}
    found = rp.lab(model, x, known, repeats=300)
    bias, variance = 0.05 * math.sqrt(size) / unit, 0.01 * size / unit**2
    assert abs(found["biased"].bias - bias) < 4 * found["biased"].bias_error
    assert found["biased"].bias_error < 0.2 * bias
    assert found["biased"].biased
    assert not found["unbiased"].biased
    assert found["unbiased"].bias < 4 * found["unbiased"].bias_error
    for name in ("biased", "unbiased"):
        assert abs(found[name].variance - variance) < 4 * found[name].variance_error
    assert found["exact"].variance < 1e-12
    assert found["exact"].bias < 1e-8
    assert found["exact"].cosine == pytest.approx(1)
    signal = math.sqrt(1 / variance)
    assert found["unbiased"].signal_to_noise == pytest.approx(signal, rel=0.2)
    share = found["biased"].seconds / max(f.seconds for f in found.findings)
    expected = found["biased"].bias ** 2 + found["biased"].variance * share
    assert found["biased"].mse == pytest.approx(expected, rel=1e-6)


def test_it_says_what_cannot_be_told_apart_and_numbers_equal_names(monkeypatch):
    """Each call takes a second by this clock: what else the machine does is no difference between estimators."""
    clock = itertools.count()
    monkeypatch.setattr("reparam.laboratory.meter.time.perf_counter", lambda: float(next(clock)))
    model, x = small_vae(rp.Bernoulli(3)), torch.rand(5, 6)
    found = rp.lab(model, x, [rp.RLOO(3), rp.RLOO(3), rp.REBAR(temperature=0.1)], repeats=200)
    names = {f.name for f in found.findings}
    assert names == {"RLOO(num_samples=3)", "RLOO(num_samples=3) #2", "REBAR(temperature=0.1)"}
    assert re.search(
        r"RLOO\(num_samples=3\)( #2)?, .*cannot be told apart from it|use RLOO.*RLOO.* cannot be told apart",
        found.advice(),
    )


class Broken(Known):
    def __call__(self, model, x):
        estimate = super().__call__(model, x)
        return rp.Estimate(estimate.loss * math.nan, estimate.bound, "elbo")


def test_odd_cases_are_said_as_they_are(float64):
    model, x = small_vae(rp.Bernoulli(3)), torch.rand(5, 6)
    found = rp.lab(model, x, {"nan": Broken(model, 0.0, 1.0), "rloo": rp.RLOO(2)}, repeats=20)
    assert "nan gave NaN or Inf in 20 of 20 draws" in found.advice()
    assert math.isnan(found["nan"].signal_to_noise)
    alone = rp.lab(model, x, {"nan": Broken(model, 0.0, 1.0)}, repeats=20).advice()
    assert "no estimator gave a finite gradient" in alone
    lonely = rp.lab(model, x, {"st": rp.StraightThrough(3.0)}, repeats=400).advice()
    assert lonely.endswith("of the gradient.")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        zero = rp.lab(model, x.numpy(), [rp.RLOO(2)], repeats=20, part="posterior")  # no gradient, and no grad mode
    assert zero["RLOO(num_samples=2)"].variance < 1e-20
    model = small_vae(rp.Bernoulli(3))
    model.encoder.requires_grad_(False)
    assert rp.lab(model, x, [rp.RLOO(2)], repeats=20, part="generative")
    with pytest.raises(ValueError, match="no trainable parameters in the part 'posterior'"):
        rp.lab(model, x, [rp.RLOO(2)], repeats=20, part="posterior")
    assert "[new]" in str(rp.lab(model, x, {"mine [new]": rp.RLOO(2)}, repeats=20))


def test_it_counts_decodings_and_says_which_to_use():
    model, x = small_vae(rp.Bernoulli(3)), torch.rand(5, 6)
    estimators = [
        rp.RLOO(4),
        rp.DisARM(3),
        rp.REBAR(),
        rp.MuProp(2),
        rp.LocalExpectation(2),
        rp.Enumerate(),
        rp.RWS(4, "both"),
    ]
    found = rp.lab(model, x, estimators, repeats=20)
    assert [found[str(e)].decodings for e in estimators] == [4, 6, 3, 3, 8, 8, 5]
    advice = found.advice()
    assert "elbo: Enumerate() is exact, in" in advice
    best = next(f for f in found.findings if f.name != "Enumerate()")
    assert f"of those that sample use {best.name}" in advice
    for f in found.findings:
        expected = (f.bias**2 if f.biased else 0.0) + f.variance * f.decodings / 8
        assert f.mse_decodings == pytest.approx(expected, rel=1e-5, abs=1e-9)
    ranked = [f.mse for f in found.findings if f.bound == "elbo"]
    assert ranked == sorted(ranked)
    text = str(found)
    assert "error at equal time" in text
    assert all(str(e) in text for e in estimators)


def test_a_gradient_of_rare_draws_is_marked():
    class Rare(Known):
        def __call__(self, model, x):
            self.bias = 100.0 if torch.rand(()) < 0.02 else 0.0
            return super().__call__(model, x)

    model, x = small_vae(rp.Bernoulli(3)), torch.rand(5, 6)
    torch.manual_seed(0)
    found = rp.lab(model, x, {"rare": Rare(model, 0.0, 1e-3), "often": Known(model, 0.0, 1.0)}, repeats=100)
    assert found.heavy(found["rare"])
    assert not found.heavy(found["often"])
    assert "makes up a large part of the variance of rare:" in found.advice()


def test_the_catalogue_lists_every_estimator_of_the_library():
    made = {type(entry.make(4, (6,))) for entry in ENTRIES}
    named = (getattr(rp, name) for name in dir(rp))
    public = {each for each in named if isinstance(each, type) and issubclass(each, Scheduled)}
    assert made == public
    assert len(public) > 20


@pytest.mark.parametrize("latent", [rp.Bernoulli(3), rp.Categorical(2, 3), rp.Gaussian(2)], ids=str)
def test_every_estimator_of_the_catalogue_is_tried(latent):
    model, x = small_vae(latent), torch.rand(5, 6)
    chosen = rp.estimators_for(model, x)
    found = rp.lab(model, x, repeats=20, warm_up=20, reference_repeats=40, part="posterior")
    assert {f.name for f in found.findings} == set(chosen)
    assert found.refused == {}
    if not isinstance(latent, rp.Gaussian):
        unbiased = {e.name for e in ENTRIES if e.bias == "none (ELBO)"}
        assert not [f.name for f in found.findings if f.name in unbiased and f.bias > 8 * f.bias_error]


def test_model_estimators_and_random_numbers_are_left_alone():
    model, x = small_vae(rp.Bernoulli(3)), torch.rand(5, 6)
    model.encoder.append(nn.Dropout(0.5))
    nvil = rp.NVIL(rp.mlp(6, [4], 1))
    before = copy.deepcopy((model.state_dict(), nvil.state_dict()))
    torch.manual_seed(5)
    first = rp.lab(model, x, [nvil, rp.RLOO(2)], repeats=20)
    after = torch.rand(())
    torch.manual_seed(5)
    assert torch.rand(()) == after
    assert model.training
    for old, new in zip(before, (model.state_dict(), nvil.state_dict()), strict=True):
        assert all(torch.equal(old[name], new[name]) for name in old)
    second = rp.lab(model, x, [nvil, rp.RLOO(2)], repeats=20)
    assert {f.name: f.variance for f in first.findings} == {f.name: f.variance for f in second.findings}


def test_parts_are_the_posteriors_parameters_and_the_others():
    model, x = small_vae(rp.Gaussian(2)), torch.rand(5, 6)
    parts = {part: parameters_of(model, x, part) for part in ("all", "posterior", "generative")}
    assert {id(p) for p in parts["posterior"]} == {id(p) for p in model.encoder.parameters()}
    assert {id(p) for p in parts["generative"]} == {id(p) for p in model.decoder.parameters()}
    assert len(parts["all"]) == 8


def test_what_does_not_fit_is_left_out_with_its_reason(tmp_path):
    model, x = small_vae(rp.Categorical(2, 3)), torch.rand(5, 6)
    found = rp.lab(model, x, [rp.RLOO(2), rp.DisARM()], repeats=20)
    assert list(found.refused) == ["DisARM()"]
    assert "left out: DisARM(): the latent is OneHotCategorical; DisARM takes Bernoulli" in str(found)


def test_it_writes_numbers_and_a_figure_and_overwrites_nothing(tmp_path):
    model, x = small_vae(rp.Bernoulli(3)), torch.rand(5, 6)
    found = rp.lab(model, x, [rp.RLOO(2), rp.ReinMax()], repeats=20)
    rows = list(csv.DictReader(found.to_csv(tmp_path / "deep" / "lab.csv").read_text().splitlines()))
    assert {row["name"]: float(row["variance"]) for row in rows} == {f.name: f.variance for f in found.findings}
    assert found.figure(tmp_path / "lab.png").stat().st_size > 10_000
    for write in (found.to_csv, found.figure):
        with pytest.raises(FileExistsError, match=r"lab.png exists already, and nothing is overwritten"):
            write(tmp_path / "lab.png")


REFUSED = [
    ({"repeats": 5}, ValueError, "repeats is 5; it must be at least 20"),
    ({"part": "encoder"}, ValueError, "part is 'encoder'; it must be one of 'all', 'posterior', 'generative'"),
    ({"estimators": []}, ValueError, "estimators is empty"),
    ({"estimators": [rp.RLOO]}, TypeError, "it must be an estimator such as"),
    (
        {"estimators": [rp.DisARM()], "model": "categorical"},
        ValueError,
        r"none of DisARM\(\) takes this model: .*DisARMTree",
    ),
    ({"x": torch.rand(5, 7)}, ValueError, r"x has shape \(5, 7\)"),
    ({"x": torch.rand(5, 6) + 1}, ValueError, "outside the support"),
    ({"model": "relaxed"}, TypeError, "relaxed"),
    ({"model": nn.Linear(3, 3)}, TypeError, "model is a Linear without the method prior"),
    ({"model": "frozen"}, ValueError, "no trainable parameters in the part 'all'"),
]


@pytest.mark.parametrize(("change", "error", "message"), REFUSED, ids=[case[2][:40] for case in REFUSED])
def test_refusals_give_the_value_the_rule_and_the_remedy(change, error, message):
    models = {
        "categorical": lambda: small_vae(rp.Categorical(2, 3)),
        "relaxed": lambda: rp.relax(small_vae(rp.Bernoulli(3)), 0.5),
        "frozen": lambda: small_vae(rp.Bernoulli(3)).requires_grad_(False),
    }
    options = {"model": small_vae(rp.Bernoulli(3)), "x": torch.rand(5, 6), "estimators": [rp.RLOO(2)], **change}
    if isinstance(options["model"], str):
        options["model"] = models[options["model"]]()
    with pytest.raises(error, match=message):
        rp.lab(**options)
