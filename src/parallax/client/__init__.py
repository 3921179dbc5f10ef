"""Desks for programs: the same verbs for a running desk over HTTP (`Client`, `AsyncClient`) and for an embedded one.

What a program uses of it is named in `parallax` itself; see docs/python.md.
"""
