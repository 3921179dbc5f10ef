"""Parallax: a self-hosted quote-to-order desk for currency exchange."""

__version__ = "0.1.0"
