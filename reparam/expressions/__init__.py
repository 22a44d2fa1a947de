"""Objects as text and back: what experiment files and the command line hold. Nothing is ever evaluated by Python."""

from reparam.expressions.calling import call as call
from reparam.expressions.reading import Make as Make
from reparam.expressions.reading import Unreadable as Unreadable
from reparam.expressions.reading import parse as parse
from reparam.expressions.reading import parse_as as parse_as
from reparam.expressions.writing import describe as describe
