"""Receives what comes over HTTP(S): JSON and text, Elasticsearch bulk requests, Splunk HEC, GELF."""

from soc.collectors.http.server import HttpReceiver

__all__ = ["HttpReceiver"]
