"""Latents of several parts: side by side, or in layers."""

from reparam.hierarchy.chain import Chain as Chain
from reparam.hierarchy.joint import Joint as Joint
from reparam.hierarchy.models import Hierarchy as Hierarchy
from reparam.hierarchy.models import Ladder as Ladder
