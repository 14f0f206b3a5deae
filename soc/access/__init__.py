"""People, roles and scopes: who may act, what they may see, and what proves who they are."""

from soc.access.access import Access
from soc.access.people import ENGINE, Person, Token
from soc.access.roles import PERMISSIONS, ROLES, holds, matrix, permissions_of, roles_with

__all__ = [
    "ENGINE",
    "PERMISSIONS",
    "ROLES",
    "Access",
    "Person",
    "Token",
    "holds",
    "matrix",
    "permissions_of",
    "roles_with",
]
