"""Checks of the user's own model before it is trained: whether its parts agree, and what its entropy will do."""
