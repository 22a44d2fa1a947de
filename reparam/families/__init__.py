"""Families: a real vector in, a torch `Distribution` out. The same noun serves as latent and as observation."""

from reparam.families.bernoulli import Bernoulli as Bernoulli
from reparam.families.categorical import Categorical as Categorical
from reparam.families.family import Family as Family
from reparam.families.gaussian import Gaussian as Gaussian
from reparam.families.torch_family import TorchFamily as TorchFamily
