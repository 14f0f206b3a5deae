"""Sigma correlations: exact sliding windows over event time, with keyed state that is saved and restored."""
