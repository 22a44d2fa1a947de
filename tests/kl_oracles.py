"""KL(q || p) of torch's families in mpmath, by their textbook formulas: with 60 digits cancellation does no harm.

Each function takes the parameters of q, then those of p, in the order in which torch's constructors take them.
"""

import mpmath as mp
from mpmath import digamma, exp, log, loggamma, mpf, pi, sqrt
from torch import distributions as td

EULER = +mp.euler


def log_beta(a, b):
    return loggamma(a) + loggamma(b) - loggamma(a + b)


def x_log_x(x):
    return x * log(x) if x > 0 else mpf(0)


# Of each q: its entropy, mean and variance, and where p needs them E[log x] and E[e^(-x / s)].


def normal(loc, scale):
    return {
        "entropy": log(scale) + (1 + log(2 * pi)) / 2,
        "mean": loc,
        "variance": scale**2,
        "laplace": lambda s: exp(-loc / s + scale**2 / (2 * s**2)),
    }


def laplace(loc, scale):
    return {"entropy": 1 + log(2 * scale), "mean": loc, "variance": 2 * scale**2}


def gumbel(loc, scale):
    return {"entropy": log(scale) + EULER + 1, "mean": loc + EULER * scale, "variance": (pi * scale) ** 2 / 6}


def gamma(a, rate):
    return {
        "entropy": a - log(rate) + loggamma(a) + (1 - a) * digamma(a),
        "mean": a / rate,
        "variance": a / rate**2,
        "log": digamma(a) - log(rate),
        "laplace": lambda s: (1 + 1 / (rate * s)) ** -a,
    }


def exponential(rate):
    return gamma(mpf(1), rate)


def beta(a, b):
    n = a + b
    return {
        "entropy": log_beta(a, b) - (a - 1) * digamma(a) - (b - 1) * digamma(b) + (n - 2) * digamma(n),
        "mean": a / n,
        "variance": a * b / (n**2 * (n + 1)),
        "log": digamma(a) - digamma(n),
    }


def log_normaliser(logit):
    return log((exp(logit) - 1) / logit) if logit else mpf(0)


def continuous_bernoulli(logit):
    mean = 1 / (1 - exp(-logit)) - 1 / logit if logit else mpf(1) / 2
    variance = 1 / logit**2 - exp(logit) / (exp(logit) - 1) ** 2 if logit else mpf(1) / 12
    return {"entropy": log_normaliser(logit) - mean * logit, "mean": mean, "variance": variance}


def pareto(scale, a):
    return {
        "entropy": log(scale / a) + 1 / a + 1,
        "mean": a * scale / (a - 1) if a > 1 else mp.inf,
        "variance": scale**2 * a / ((a - 1) ** 2 * (a - 2)) if a > 2 else mp.inf,
        "log": log(scale) + 1 / a,
    }


def uniform(low, high):
    width = high - low
    return {
        "entropy": log(width),
        "mean": (low + high) / 2,
        "variance": width**2 / 12,
        "log": (x_log_x(high) - x_log_x(low)) / width - 1 if low >= 0 else None,
        "laplace": lambda s: s * (exp(-low / s) - exp(-high / s)) / width,
    }


# Of each p: minus the expected log-density under a q of these moments.


def to_normal(q, loc, scale):
    return log(scale) + log(2 * pi) / 2 + (q["variance"] + (q["mean"] - loc) ** 2) / (2 * scale**2)


def to_gamma(q, a, rate):
    return loggamma(a) - a * log(rate) - (a - 1) * q["log"] + rate * q["mean"]


def to_exponential(q, rate):
    return rate * q["mean"] - log(rate)


def to_gumbel(q, loc, scale):
    return log(scale) + (q["mean"] - loc) / scale + exp(loc / scale) * q["laplace"](scale)


def to_continuous_bernoulli(q, logit):
    return log_normaliser(logit) - logit * q["mean"]


def cross(moments, num_params, to):
    def kl(*params):
        q = moments(*params[:num_params])
        return to(q, *params[num_params:]) - q["entropy"]

    return kl


def normal_laplace(m, s, loc, b):
    d = m - loc
    distance = s * sqrt(2 / pi) * exp(-(d**2) / (2 * s**2)) + d * mp.erf(d / (sqrt(2) * s))
    return distance / b + log(2 * b) - normal(m, s)["entropy"]


def unit_uniform(moments, num_params):
    def kl(*params):
        low, high = params[num_params:]
        return log(high - low) - moments(*params[:num_params])["entropy"] if low <= 0 and high >= 1 else mp.inf

    return kl


def uniform_gamma(low, high, a, rate):
    return cross(uniform, 2, to_gamma)(low, high, a, rate) if low >= 0 else mp.inf


def uniform_exponential(low, high, rate):
    return cross(uniform, 2, to_exponential)(low, high, rate) if low >= 0 else mp.inf


def uniform_continuous_bernoulli(low, high, logit):
    return cross(uniform, 2, to_continuous_bernoulli)(low, high, logit) if low >= 0 and high <= 1 else mp.inf


def uniform_beta(low, high, a, b):
    if low < 0 or high > 1:
        return mp.inf
    log_x, log_rest = uniform(low, high)["log"], uniform(1 - high, 1 - low)["log"]
    return log_beta(a, b) - (a - 1) * log_x - (b - 1) * log_rest - log(high - low)


def uniform_pareto(low, high, scale, a):
    if low < scale:
        return mp.inf
    return -log(a) - a * log(scale) + (a + 1) * uniform(low, high)["log"] - log(high - low)


# Of two members of one family.


def gammas(a, rate, b, other):
    return cross(gamma, 2, to_gamma)(a, rate, b, other)


def betas(a, b, c, d):
    slopes = (a - c) * digamma(a) + (b - d) * digamma(b) + (c + d - a - b) * digamma(a + b)
    return log_beta(c, d) - log_beta(a, b) + slopes


def poissons(q, p):
    if q == 0:
        return p
    return q * log(q / p) - q + p if p > 0 else mp.inf


def coins(q, p):
    """Of probabilities as pairs (of a one, of a zero)."""
    return sum(a * log(a / b) if b > 0 else mp.inf for a, b in zip(q, p, strict=True) if a > 0)


def odds(logit):
    return 1 / (1 + exp(-logit)), 1 / (1 + exp(logit))


def laplaces(m, s, loc, b):
    d = abs(m - loc)
    return log(b / s) + d / b + s / b * exp(-d / s) - 1


def cauchys(m, s, loc, b):
    return log(((s + b) ** 2 + (m - loc) ** 2) / (4 * s * b))


def gumbels(m, s, loc, b):
    r = s / b
    return -log(r) + (m - loc) / b + EULER * (r - 1) + exp((loc - m) / b) * mp.gamma(1 + r) - 1


def paretos(s, a, scale, b):
    return b * log(s / scale) + b / a - 1 - log(b / a) if s >= scale else mp.inf


def uniforms(low, high, a, b):
    return log((b - a) / (high - low)) if a <= low and high <= b else mp.inf


def coin_poisson(logit, rate):
    p, rest = odds(logit)
    if rate == 0:
        return mp.inf
    return x_log_x(p) + x_log_x(rest) - p * log(rate) + rate


LOC_SCALE = (("loc", "scale"),) * 2
ORACLES = {
    ("Bernoulli", "Bernoulli"): lambda q, p: coins(odds(q), odds(p)),
    ("Bernoulli", "Poisson"): coin_poisson,
    ("Beta", "Beta"): betas,
    ("Beta", "ContinuousBernoulli"): cross(beta, 2, to_continuous_bernoulli),
    ("Beta", "Exponential"): cross(beta, 2, to_exponential),
    ("Beta", "Gamma"): cross(beta, 2, to_gamma),
    ("Beta", "Normal"): cross(beta, 2, to_normal),
    ("Beta", "Uniform"): unit_uniform(beta, 2),
    ("Cauchy", "Cauchy"): cauchys,
    ("Chi2", "Chi2"): lambda q, p: gammas(q / 2, mpf(1) / 2, p / 2, mpf(1) / 2),
    ("ContinuousBernoulli", "ContinuousBernoulli"): cross(continuous_bernoulli, 1, to_continuous_bernoulli),
    ("ContinuousBernoulli", "Exponential"): cross(continuous_bernoulli, 1, to_exponential),
    ("ContinuousBernoulli", "Normal"): cross(continuous_bernoulli, 1, to_normal),
    ("ContinuousBernoulli", "Uniform"): unit_uniform(continuous_bernoulli, 1),
    ("Exponential", "Exponential"): cross(exponential, 1, to_exponential),
    ("Exponential", "Gamma"): cross(exponential, 1, to_gamma),
    ("Exponential", "Gumbel"): cross(exponential, 1, to_gumbel),
    ("Exponential", "Normal"): cross(exponential, 1, to_normal),
    ("Gamma", "Exponential"): cross(gamma, 2, to_exponential),
    ("Gamma", "Gamma"): gammas,
    ("Gamma", "Gumbel"): cross(gamma, 2, to_gumbel),
    ("Gamma", "Normal"): cross(gamma, 2, to_normal),
    ("Geometric", "Geometric"): lambda q, p: coins(odds(q), odds(p)) / odds(q)[0],
    ("Gumbel", "Gumbel"): gumbels,
    ("Gumbel", "Normal"): cross(gumbel, 2, to_normal),
    ("HalfCauchy", "HalfCauchy"): lambda q, p: cauchys(mpf(0), q, mpf(0), p),
    ("HalfNormal", "HalfNormal"): lambda q, p: cross(normal, 2, to_normal)(mpf(0), q, mpf(0), p),
    ("InverseGamma", "InverseGamma"): gammas,
    ("Laplace", "Laplace"): laplaces,
    ("Laplace", "Normal"): cross(laplace, 2, to_normal),
    ("LogNormal", "LogNormal"): cross(normal, 2, to_normal),
    ("Normal", "Gumbel"): cross(normal, 2, to_gumbel),
    ("Normal", "Laplace"): normal_laplace,
    ("Normal", "Normal"): cross(normal, 2, to_normal),
    ("Pareto", "Exponential"): cross(pareto, 2, to_exponential),
    ("Pareto", "Gamma"): cross(pareto, 2, to_gamma),
    ("Pareto", "Normal"): cross(pareto, 2, to_normal),
    ("Pareto", "Pareto"): paretos,
    ("Poisson", "Poisson"): poissons,
    ("Uniform", "Beta"): uniform_beta,
    ("Uniform", "ContinuousBernoulli"): uniform_continuous_bernoulli,
    ("Uniform", "Exponential"): uniform_exponential,
    ("Uniform", "Gamma"): uniform_gamma,
    ("Uniform", "Gumbel"): cross(uniform, 2, to_gumbel),
    ("Uniform", "Normal"): cross(uniform, 2, to_normal),
    ("Uniform", "Pareto"): uniform_pareto,
    ("Uniform", "Uniform"): uniforms,
}

LOGITS = {"Bernoulli", "ContinuousBernoulli", "Geometric"}


def member(name, *params):
    """A distribution of torch's, with logits for its parameters where it has them."""
    kind = getattr(td, name)
    return kind(logits=params[0], validate_args=False) if name in LOGITS else kind(*params, validate_args=False)
