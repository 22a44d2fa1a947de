"""Estimators of the gradient of a bound: `(model, x) -> Estimate`, with `loss == -bound.mean()`."""

from reparam.estimators.antithetic import ARM as ARM
from reparam.estimators.antithetic import DisARM as DisARM
from reparam.estimators.antithetic import DisARMTree as DisARMTree
from reparam.estimators.control_variate import REBAR as REBAR
from reparam.estimators.control_variate import RELAX as RELAX
from reparam.estimators.control_variate import MuProp as MuProp
from reparam.estimators.enumerate import Enumerate as Enumerate
from reparam.estimators.estimate import Estimate as Estimate
from reparam.estimators.estimate import Estimator as Estimator
from reparam.estimators.local_expectation import LocalExpectation as LocalExpectation
from reparam.estimators.pathwise import Pathwise as Pathwise
from reparam.estimators.relaxed import Relaxed as Relaxed
from reparam.estimators.score_function import NVIL as NVIL
from reparam.estimators.score_function import REINFORCE as REINFORCE
from reparam.estimators.score_function import RLOO as RLOO
from reparam.estimators.score_function import VIMCO as VIMCO
from reparam.estimators.stages import Stages as Stages
from reparam.estimators.straight_through import GumbelRao as GumbelRao
from reparam.estimators.straight_through import ReinMax as ReinMax
from reparam.estimators.straight_through import StraightThrough as StraightThrough
from reparam.estimators.thermodynamic import TVO as TVO
from reparam.estimators.wake_sleep import RWS as RWS
from reparam.estimators.wake_sleep import WakeSleep as WakeSleep
from reparam.estimators.without_replacement import UnorderedSet as UnorderedSet
