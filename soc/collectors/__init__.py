"""Collectors: they listen and put bytes into the queue; they never parse."""
