"""Training: the loop, what is kept of it, and what one sees of it."""

from reparam.training.divergence import TrainingDiverged as TrainingDiverged
from reparam.training.epoch import Epoch as Epoch
from reparam.training.loop import fit as fit
from reparam.training.progress import progress as progress
from reparam.training.run import Run as Run
from reparam.training.stop import Interrupted as Interrupted
from reparam.training.validation import Validation as Validation
