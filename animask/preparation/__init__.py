"""Raw videos to a data set: `prepare` cuts them into clips of one shot, each in one fixed square.

`scenes` finds the shots, `sources` names the videos, `boxes` reads given boxes, `clips` plans and writes the
clips of one video, `records` remembers in prepared.csv what is done, and `running` puts them together.
"""

from animask.preparation.records import Record
from animask.preparation.running import Summary, prepare
from animask.preparation.settings import PrepareConfig

__all__ = ["PrepareConfig", "Record", "Summary", "prepare"]
