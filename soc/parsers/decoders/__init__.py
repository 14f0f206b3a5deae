"""Bytes to named values, one protocol a module; what the names mean in ECS stands in the definitions."""
