"""The coverage ledger: which rule was held against the events of which time, and why where it was not."""
