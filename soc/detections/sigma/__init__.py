"""Sigma rules: read through pySigma, lowered to our own small form, routed, and evaluated."""
