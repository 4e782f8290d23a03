"""The exact solution of a torus of two dimensions, by the transfer matrix of its rows."""

from .solution import StripSolution as StripSolution
from .solution import cost as cost
from .solution import quick_solution as quick_solution
