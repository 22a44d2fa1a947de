"""Runs from experiments: trained, resumed, evaluated, and their models given back."""

from reparam.runs.launching import device_of as device_of
from reparam.runs.launching import launch_of as launch_of
from reparam.runs.locating import data_of_run as data_of_run
from reparam.runs.locating import part_of_run as part_of_run
from reparam.runs.measuring import measure as measure
from reparam.runs.measuring import measurements as measurements
from reparam.runs.reading import data_of as data_of
from reparam.runs.reading import experiment_of as experiment_of
from reparam.runs.reading import load as load
from reparam.runs.reading import saved as saved
from reparam.runs.training import counts_steps as counts_steps
from reparam.runs.training import resume as resume
from reparam.runs.training import train as train
