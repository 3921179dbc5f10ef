"""Adapters to exchanges: the wire of each, and the budget, clock and breaker in front of it."""
