"""Small flows over a Gaussian, with random parameters, and the names of their kinds."""

from hierarchies import randomise

import reparam as rp
from reparam.families.flow import Flow

KINDS = ["maf", "nsf"]


def flow(kind, size=2, num_transforms=2):
    return randomise(Flow(rp.Gaussian(size), kind, num_transforms=num_transforms, hidden=[8]), 0.4)
