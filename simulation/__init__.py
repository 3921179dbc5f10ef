"""The proof: the whole desk under a virtual clock, seeded faults and a checker that knows what really happened.

A program of the repository, not of the wheel: `python -m simulation`. See `docs/simulation.md`.
"""
