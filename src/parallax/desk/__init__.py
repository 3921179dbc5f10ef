"""The desk: the verbs, and what keeps users, quotes and orders live inside the application."""
