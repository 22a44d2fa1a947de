"""Training: the loop, and what one sees of it."""

from reparam.training.divergence import TrainingDiverged as TrainingDiverged
from reparam.training.loop import Epoch as Epoch
from reparam.training.loop import fit as fit
from reparam.training.progress import progress as progress
