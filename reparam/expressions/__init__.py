"""Objects as text and back: what experiment files and the command line hold. Nothing is ever evaluated by Python."""

from reparam.expressions.reading import parse as parse
from reparam.expressions.writing import describe as describe
