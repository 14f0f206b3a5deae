"""The history of the case database's tables, run by Alembic when a store is opened."""
