"""Kinds of scenes beyond the plain room: what real cameras show, and what only the past can tell."""
