"""Networks: plain `nn.Module`s that fold any number of leading axes.

None has batch norm: with it the likelihood of one example depends on the others of its batch, so a bound is no longer
one number for one example, and score-function estimators, which weigh each example by its own bound, are biased.
"""

from reparam.networks.convolutional import conv_decoder as conv_decoder
from reparam.networks.convolutional import conv_encoder as conv_encoder
from reparam.networks.dense import gated_mlp as gated_mlp
from reparam.networks.dense import mlp as mlp
from reparam.networks.log1p import Log1p as Log1p
from reparam.networks.masked import masked_mlp as masked_mlp
