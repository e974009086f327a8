"""The paper's metrics of some weights on a data set, by a protocol that is printed with the figures."""

from animask.evaluation.protocols import Settings
from animask.evaluation.results import Result, Score, sum_up, tabulate, to_json
from animask.evaluation.running import evaluate

__all__ = ["Result", "Score", "Settings", "evaluate", "sum_up", "tabulate", "to_json"]
