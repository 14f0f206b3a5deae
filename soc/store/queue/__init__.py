"""The queue on disk: logs of frames with one writer a node, any number of readers, and nothing lost between them."""

from soc.store.queue.log import DiskLog
from soc.store.queue.reader import Lag, LogReader, trim
from soc.store.queue.replica import pack, unpack

__all__ = ["DiskLog", "Lag", "LogReader", "pack", "trim", "unpack"]
