"""An experiment as plain values, the presets, and building what they name."""

from reparam.experiment.config import DataOptions as DataOptions
from reparam.experiment.config import EvaluationOptions as EvaluationOptions
from reparam.experiment.config import Experiment as Experiment
from reparam.experiment.config import MachineOptions as MachineOptions
from reparam.experiment.config import ModelOptions as ModelOptions
from reparam.experiment.config import TrainingOptions as TrainingOptions
