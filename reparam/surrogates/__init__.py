"""Surrogates: tensors in, tensor out. Where the result is a bound, its gradient is the estimator."""

from reparam.surrogates.antithetic import arm as arm
from reparam.surrogates.antithetic import disarm as disarm
from reparam.surrogates.multi_sample import tvo as tvo
from reparam.surrogates.multi_sample import wake as wake
from reparam.surrogates.score_function import advantage_over_others as advantage_over_others
from reparam.surrogates.score_function import finite_signal as finite_signal
from reparam.surrogates.score_function import reinforce as reinforce
from reparam.surrogates.score_function import rloo as rloo
from reparam.surrogates.score_function import vimco as vimco
from reparam.surrogates.score_function import with_gradient_of as with_gradient_of
from reparam.surrogates.without_replacement import unordered_set as unordered_set
