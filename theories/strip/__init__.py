"""The exact solution of a torus of two dimensions, by the transfer matrix of its rows."""

from .cost import cost as cost
from .quick import quick_solution as quick_solution
from .solution import StripSolution as StripSolution
