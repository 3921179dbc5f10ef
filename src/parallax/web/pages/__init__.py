"""One module a page: what is asked for, what is shown, what can be done there."""
