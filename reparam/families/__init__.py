"""Families: a real vector in, a torch `Distribution` out. The same noun serves as latent and as observation."""

from reparam.families.bernoulli import Bernoulli as Bernoulli
from reparam.families.categorical import Categorical as Categorical
from reparam.families.counts import Binomial as Binomial
from reparam.families.counts import NegativeBinomial as NegativeBinomial
from reparam.families.counts import Ordinal as Ordinal
from reparam.families.counts import Poisson as Poisson
from reparam.families.counts import ZeroInflatedNegativeBinomial as ZeroInflatedNegativeBinomial
from reparam.families.directional import PowerSpherical as PowerSpherical
from reparam.families.directional import VonMises as VonMises
from reparam.families.family import Family as Family
from reparam.families.flow import Flow as Flow
from reparam.families.gaussian import Gaussian as Gaussian
from reparam.families.pixels import DiscretizedLogistic as DiscretizedLogistic
from reparam.families.pixels import QuantizedCategorical as QuantizedCategorical
from reparam.families.positive import Gamma as Gamma
from reparam.families.positive import LogNormal as LogNormal
from reparam.families.reals import Laplace as Laplace
from reparam.families.reals import Logistic as Logistic
from reparam.families.reals import StudentT as StudentT
from reparam.families.shared_scale import SharedScaleGaussian as SharedScaleGaussian
from reparam.families.simplex import Dirichlet as Dirichlet
from reparam.families.simplex import LogisticNormal as LogisticNormal
from reparam.families.torch_family import TorchFamily as TorchFamily
from reparam.families.unit_interval import Beta as Beta
from reparam.families.unit_interval import ContinuousBernoulli as ContinuousBernoulli
from reparam.families.unit_interval import Kumaraswamy as Kumaraswamy
