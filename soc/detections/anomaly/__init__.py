"""Anomaly models: `entity × metric × model × policy`, each behind the `AnomalyModel` protocol."""
