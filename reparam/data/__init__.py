"""Data in tensors and in mapped files; the embedded MNIST; data by name or path; fetching, listing and importing."""

from reparam.data.arrays import as_tensor as as_tensor
from reparam.data.arrays import is_table as is_table
from reparam.data.checksum import checksum as checksum
from reparam.data.data import Batches as Batches
from reparam.data.data import Data as Data
from reparam.data.data import as_batch as as_batch
from reparam.data.data import as_data as as_data
from reparam.data.fetch import fetch as fetch
from reparam.data.importing import import_ as import_
from reparam.data.listing import Info as Info
from reparam.data.listing import Listed as Listed
from reparam.data.listing import info as info
from reparam.data.listing import listing as listing
from reparam.data.load import load_data as load_data
from reparam.data.mnist import mnist as mnist
from reparam.data.passes import num_batches as num_batches
from reparam.data.sources import RemoteFile as RemoteFile
from reparam.data.sources import Source as Source
from reparam.data.splits import Splits as Splits
