"""Data in tensors, and the embedded MNIST."""

from reparam.data.data import Batches as Batches
from reparam.data.data import Data as Data
from reparam.data.data import as_batch as as_batch
from reparam.data.data import as_data as as_data
from reparam.data.mnist import Splits as Splits
from reparam.data.mnist import mnist as mnist
