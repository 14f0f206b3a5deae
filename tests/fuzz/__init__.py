"""Fuzzing across rooms: hostile bytes on their whole way."""
