"""What needs more than Python to be collected."""

from soc.model import kernel

collect_ignore = [] if kernel.kernel is not None else ["test_datagram_compiled.py"]
"""What compares the compiled kernel with the pure code needs both."""
