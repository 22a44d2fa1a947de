"""What `torch.distributions` lacks or gets wrong; each one a torch `Distribution`."""

from reparam.distributions.bernoulli import Bernoulli as Bernoulli
from reparam.distributions.enumeration import joint_support as joint_support
from reparam.distributions.log_relaxed_categorical import LogRelaxedCategorical as LogRelaxedCategorical
from reparam.distributions.logit_relaxed_bernoulli import LogitRelaxedBernoulli as LogitRelaxedBernoulli
from reparam.distributions.one_hot_categorical import OneHotCategorical as OneHotCategorical
from reparam.distributions.without_replacement import log_outside_subsets as log_outside_subsets
from reparam.distributions.without_replacement import sample_without_replacement as sample_without_replacement
