"""Event batches to findings: Sigma rules, correlations and anomaly models in one engine for live, test and backtest."""

from soc.detections.check import check
from soc.detections.correlator import Correlator
from soc.detections.detect import detect
from soc.detections.detector import Detector
from soc.detections.load import DetectionSet
from soc.detections.sigma.rule import Refused

__all__ = ["Correlator", "DetectionSet", "Detector", "Refused", "check", "detect"]
